# SPDX-License-Identifier: Apache-2.0
"""FEMNIST, handwritten characters by their writers (LEAF, Caldas et al., 2018), in two federations.

  paper     that of FedProx (Li et al., MLSys 2020, Section 5.1 and Appendix C.1): the ten letters a to j over 200
            devices, by a power law. Writers do not matter
  writers   each writer is a client, with all 62 characters: 3,400 clients in TFF's file

The rule of `paper` is that of the authors' script. Device u holds the letters u, u + 1 and u + 2 modulo 10; the script
has three of them, where the paper's text says five. With n_u = LogNormal(4, 1) + 5, it takes int(n_u / 3) images of
each, at least two, in the order of the files, and trains on the first 90 % of them, shuffled.

Departures from the script. It means to begin again with the first image when a letter is used up, but tests that the
wrong way round, and so begins again nearly every time: most of its devices hold the same images, which are also
training images here and test images there. Here no image is dealt twice; a device that comes when a letter is used up
holds fewer of it. The script takes 4,000 training images of each letter at most and no test image; here all are dealt,
the training images first. It sets no seed; ours is `data_seed`. Labels are 0 to 9 for a to j, where the authors' model
has 26 outputs, of which 16 are never right.

Pixels are numbers from 0 to 1 as in the files, 1 is the background. `femnist_files` says what was tested and on what.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.choices import Share
from fedprox_tff.core.errors import DataError
from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import base, femnist_files
from fedprox_tff.datasets.rows import take
from fedprox_tff.datasets.statistics import PAPER

LETTERS = range(36, 46)  # the labels of a to j
CLASSES = 3  # that a device of the paper holds
LEAST = 2  # images of each letter that a device takes
_LEARNING_RATES = {
  'paper': 0.003,  # the paper's (appendix C.2)
  'writers': 0.01,  # of FederatedScope's setting for FedAvg
}


def femnist(
  *,
  data_dir: str | None = None,
  data_seed: int = 0,
  femnist_split: Literal['paper', 'writers'] = 'paper',
  num_clients: Annotated[int, (1, None)] | None = None,
  femnist_classes: Annotated[int, (1, len(LETTERS))] = CLASSES,
  femnist_share: Share = 1.0,
) -> base.DataSet:
  """Returns FEMNIST, x of shape [n, 28, 28, 1], from `data_dir` or the other places of `femnist_files.find`.

  Args:
    data_dir: Folder with the data's files; without it $FEDPROX_DATA_DIR, then the cache, then a download.
    data_seed: Seed of the split over clients.
    femnist_split: How images are split: ten letters over devices as in the paper, or each writer a client.
    num_clients: Number of clients in the federation; of the paper's split, 200 if it is not said.
    femnist_classes: How many letters a client of the paper's split holds.
    femnist_share: Share of the writers whose images are taken, drawn at random.
  """
  missing = ''
  if femnist_split == 'writers' and (num_clients is not None or femnist_classes != CLASSES):
    missing = '--femnist_split=writers: its clients are the writers; --femnist_share takes a part of them.'
  if femnist_share == 0:
    missing = '--femnist_share=0.0: a share above 0 is needed.'

  def load(partition: None = None) -> base.FederatedDataset:
    del partition  # the files or the paper's own rule say it
    rng = streams.generator('data', data_seed)

    def choose(ids: Sequence[str]) -> Sequence[str]:
      if femnist_share == 1:
        return ids
      return [ids[i] for i in np.sort(rng.permutation(len(ids))[: max(1, round(femnist_share * len(ids)))])]

    if femnist_split == 'writers':
      return _by_writers(data_dir, choose)
    return _as_in_paper(data_dir, choose, num_clients or PAPER['femnist'].devices, femnist_classes, rng)

  if femnist_split == 'writers':
    title = 'FEMNIST by writer'
  else:
    title = 'FEMNIST' + (f', {femnist_classes} letters a client' if femnist_classes != CLASSES else '')
    num_clients = num_clients or PAPER['femnist'].devices
  if femnist_share < 1:
    title += f', {femnist_share:.7g} of the writers'
  return base.DataSet('femnist', title, _LEARNING_RATES[femnist_split], load, num_clients=num_clients, missing=missing)


def _by_writers(data_dir: str | None, choose: femnist_files.Choose) -> base.FederatedDataset:
  ids, train, test, source = femnist_files.read(data_dir, choose=choose)
  return base.FederatedDataset(
    name='femnist',
    client_ids=ids,
    train=train,
    test=test,
    num_classes=femnist_files.NUM_CLASSES,
    source=source,
    inputs=Inputs('images'),
  )


def _as_in_paper(
  data_dir: str | None, choose: femnist_files.Choose, num_clients: int, held: int, rng: np.random.Generator
) -> base.FederatedDataset:
  _, train, test, source = femnist_files.read(data_dir, labels=LETTERS, choose=choose)
  pool = base.Examples(*(np.concatenate(parts) for parts in zip(train.examples, test.examples, strict=True)))
  pool.y[:] -= LETTERS.start
  hands = deal(pool.y, num_clients, held, rng)
  return base.FederatedDataset(
    name='femnist',
    client_ids=base.client_ids(num_clients),
    train=take(pool, [rows[: base.train_size(len(rows))] for rows in hands]),
    test=take(pool, [rows[base.train_size(len(rows)) :] for rows in hands]),
    num_classes=len(LETTERS),
    source=source,
    paper=PAPER['femnist'] if num_clients == PAPER['femnist'].devices else None,
    inputs=Inputs('images'),
  )


def deal(labels: np.ndarray, num_clients: int, held: int, rng: np.random.Generator) -> list[np.ndarray]:
  """Deals images of ten letters as the paper's script means to: client u takes those of u to u + held - 1 modulo 10.

  Args:
    labels: int [n], from 0 to 9.
    num_clients: The number of clients.
    held: How many letters a client holds.
    rng: The only source of randomness.

  Returns:
    For each client its rows, in a random order.

  Raises:
    DataError: If a client would have fewer than two images.
  """
  waiting = [np.flatnonzero(labels == label) for label in range(len(LETTERS))]
  sizes = rng.lognormal(4.0, 1.0, num_clients) + 5
  hands = []
  for client, size in enumerate(sizes):
    number = max(int(size / held), LEAST)
    taken = []
    for label in ((client + which) % len(LETTERS) for which in range(held)):
      taken.append(waiting[label][:number])
      waiting[label] = waiting[label][number:]
    hand = np.concatenate(taken)
    if len(hand) < 2:
      raise DataError(
        f'--num_clients={num_clients}: {len(labels):,} images of a to j are used up at client {client}, which needs '
        'one to train on and one to test on.'
      )
    hands.append(rng.permutation(hand))
  return hands
