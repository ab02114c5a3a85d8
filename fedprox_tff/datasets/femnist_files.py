# SPDX-License-Identifier: Apache-2.0
"""The files of FEMNIST: handwritten digits and letters by their writers (Caldas et al., LEAF, arXiv:1812.01097).

Two layouts are read: `emnist_all.sqlite` of TensorFlow Federated, whose rows are serialised `tf.train.Example`s with
`label` and `pixels` [28, 28], and a folder of LEAF, train/*.json and test/*.json, whose x are 784 numbers. In both a
pixel is a number from 0 to 1, and 1 is the background. Labels are 0 to 9 for the digits, 10 to 35 for A to Z and 36 to
61 for a to z. What is for training and what for testing is as the files say.

No checksum of TFF's file is published, and we could not get it: this reader has met files that tests make in its
layout, and nothing was trained on the real one.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import base, sources, tff_files
from fedprox_tff.datasets.leaf import leaf
from fedprox_tff.machine.resources import GIB, free_memory

SQLITE = 'emnist_all.sqlite'
NUM_CLASSES = 62
SHAPE = (28, 28, 1)
_SPLITS = ('all_train', 'all_test')  # in TFF's file
_SUBFOLDERS = ('femnist', tff_files.SUBFOLDER, 'emnist')
_BLOCK = 1024  # rows that are read at once
_EXAMPLE_BYTES = 4 * (28 * 28 + 1)

# From the names of all writers, sorted, to those of the ones that are wanted.
Choose = Callable[[Sequence[str]], Sequence[str]]
# Rows of some writers: whose each is, x and y.
_Block = tuple[Sequence[str], np.ndarray, np.ndarray]


class Writers(NamedTuple):
  """Writers and their examples, x of float32 [n, 28, 28, 1]."""

  ids: tuple[str, ...]
  train: base.ClientSplit
  test: base.ClientSplit
  source: str  # one line on where they came from


def read(
  data_dir: str | None,
  *,
  labels: range = range(NUM_CLASSES),
  choose: Choose = lambda ids: ids,
) -> Writers:
  """Reads the examples of some writers, downloading TFF's file to the cache if nothing is to be found.

  Args:
    data_dir: A folder to look in first, or None.
    labels: The labels to keep. A writer may have no such example.
    choose: Which writers are read.

  Raises:
    UserError: If `data_dir` is not a folder.
    DataError: If a file is malformed, the examples do not fit into memory, or the download fails.
  """
  place = find(data_dir) or _download()
  if os.path.isdir(place):
    return _read_leaf(place, labels, choose)
  return _read_sqlite(place, labels, choose)


def find(data_dir: str | None) -> str | None:
  """Returns TFF's file or a folder of LEAF, whichever is found first, or None if TFF's file would be downloaded.

  Raises:
    UserError: If `data_dir` is given and is not a folder.
  """
  for folder in sources.places(data_dir, *_SUBFOLDERS):
    path = os.path.join(folder, SQLITE)
    if os.path.isfile(path):
      return path
    if all(os.path.isdir(os.path.join(folder, part)) for part in ('train', 'test')):
      return os.path.dirname(path)
  return None


def _download() -> str:
  """Has TFF download its file; the file appears in the cache once it is whole."""

  def load_data(folder: str) -> None:
    import tensorflow_federated as tff  # imported here: it takes seconds, and only a machine's first run downloads

    tff.simulation.datasets.emnist.load_data(only_digits=False, cache_dir=folder)

  return tff_files.fetch('FEMNIST', SQLITE, load_data)


def _read_leaf(folder: str, labels: range, choose: Choose) -> Writers:
  federation = leaf(data_dir=folder).load(None)
  if federation.input_shape not in ((784,), (28, 28), SHAPE):
    raise DataError(f'{folder} is not FEMNIST: x has the shape {federation.input_shape}, not {(784,)}.')

  def blocks(split: base.ClientSplit) -> Iterator[_Block]:
    for k, name in enumerate(federation.client_ids):
      x, y = split.client(k)
      yield [name] * len(y), x, y

  ids = tuple(choose(sorted(federation.client_ids)))
  train, test = (_gather(ids, blocks(split), labels, folder) for split in (federation.train, federation.test))
  return Writers(ids, train, test, f'{folder}, in the format of LEAF')


def _read_sqlite(path: str, labels: range, choose: Choose) -> Writers:
  with tff_files.connected(path) as file:
    trained, tested = (_counts(file, split) for split in _SPLITS)
    untrained = sorted(tested.keys() - trained.keys())
    if not trained or untrained:
      what = f'the writer {untrained[0]!r} has' if untrained else 'its writers have'
      raise DataError(f'{path}: {what} nothing to train on.')
    ids = tuple(choose(sorted(trained)))
    if len(labels) == NUM_CLASSES:
      _require_memory(path, sum(counts.get(name, 0) for counts in (trained, tested) for name in ids))
    train, test = (_gather(ids, _rows(file, split, path), labels, path) for split in _SPLITS)
  return Writers(ids, train, test, path)


def _counts(file: sqlite3.Connection, split: str) -> dict[str, int]:
  """Returns how many examples each writer has in a part of TFF's file."""
  query = 'SELECT client_id, COUNT(*) FROM examples WHERE split_name = ? GROUP BY client_id'
  return dict(file.execute(query, [split]))


def _rows(file: sqlite3.Connection, split: str, path: str) -> Iterator[_Block]:
  """Yields the rows of a part of TFF's file, in its order."""
  import tensorflow as tf  # imported here: it takes seconds

  features = {
    'pixels': tf.io.FixedLenFeature(SHAPE[:2], tf.float32),
    'label': tf.io.FixedLenFeature([], tf.int64),
  }
  rows = file.execute('SELECT client_id, serialized_example_proto FROM examples WHERE split_name = ?', [split])
  while block := rows.fetchmany(_BLOCK):
    names, serialised = zip(*block, strict=True)
    try:
      parsed = tf.io.parse_example(list(serialised), features)
    except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
      raise DataError(f'{path}: an example in {split} has no label and pixels [28, 28].') from error
    yield names, parsed['pixels'].numpy(), parsed['label'].numpy()


def _gather(ids: Sequence[str], blocks: Iterable[_Block], labels: range, where: str) -> base.ClientSplit:
  """Returns the examples that some writers have of some labels, in the order in which they come."""
  places = {name: k for k, name in enumerate(ids)}
  kept = []
  for names, x, y in blocks:
    if not np.all((y >= 0) & (y < NUM_CLASSES)):
      raise DataError(f'{where}: labels are not all from 0 to {NUM_CLASSES - 1}.')
    if not np.all((x >= 0) & (x <= 1)):
      raise DataError(f'{where}: pixels are not all from 0 to 1.')
    owners = np.array([places.get(name, -1) for name in names], np.int64)
    rows = (owners >= 0) & (y >= labels.start) & (y < labels.stop)
    kept.append((owners[rows], x[rows], y[rows]))
  owners = np.concatenate([np.empty(0, np.int64), *(owners for owners, _, _ in kept)])
  split = base.empty_split(np.bincount(owners, minlength=len(ids)), SHAPE)
  ends = split.offsets[:-1].copy()
  for i, (owners, x, y) in enumerate(kept):
    kept[i] = None  # each block is let go of once it is copied: the pixels are never there twice
    for client in np.unique(owners):
      rows = owners == client
      place = slice(ends[client], ends[client] + np.count_nonzero(rows))
      split.examples.x[place] = x[rows].reshape(-1, *SHAPE)
      split.examples.y[place] = y[rows]
      ends[client] = place.stop
  return split


def _require_memory(path: str, num_examples: int) -> None:
  needed, available = num_examples * _EXAMPLE_BYTES, free_memory()
  if needed > available:
    raise DataError(
      f'{path}: its {num_examples:,} examples take {needed / GIB:,.1f} GiB of memory; {available / GIB:,.1f} GiB are '
      'free. --femnist_share takes a part of the writers.'
    )
