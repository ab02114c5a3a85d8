# SPDX-License-Identifier: Apache-2.0
"""Stack Overflow: the next word at each place of a sentence. Each author of questions and answers is a client.

A task of FedOpt (Reddi et al., ICLR 2021, arXiv:2003.00295, Appendix C), of TensorFlow Federated's data: sentences in
lower case, split into words, those before 2018 for training and later ones for testing. Of a sentence the first 20
words are read. With b for its beginning and e for its end, which a sentence of 20 words or more has none of,

    x = b w_1 w_2 ... w_19     y = w_1 w_2 ... w_20     or     x = b w_1 w_2 e 0 ...     y = w_1 w_2 e -1 -1 ...

where 0 is padding and -1 is no label. The vocabulary is of the 10,000 words that the most users have, by TFF's table of
counts; the places before them are those of padding, of words that are not among them, of b and of e. Unlike TFF's
metrics, accuracy counts e and unknown words as words.

TFF's file has 342,477 users with 135,818,730 sentences. We read some of it: `num_clients` users, drawn by `data_seed`,
and the first `max_sentences` of each. It takes many gigabytes, so that nothing is downloaded unless the user says

    python -c "import tensorflow_federated as tff; tff.simulation.datasets.stackoverflow.load_data(cache_dir='FOLDER')"

and the same with `load_word_counts`. Without the counts the vocabulary is of the words of the sentences that were read.

This has been tried on a file of a few sentences in TFF's layout, and on nothing else: the real one could not be had.
FedOpt's network has one LSTM of 670 units between layers of 96, which `lstm` has not: its dense layer is one.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.errors import DataError
from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import base, sources, tff_files, words
from fedprox_tff.datasets.leaf_files import require

SQLITE = 'stackoverflow.sqlite'
COUNTS = 'stackoverflow.word_count'
SUBFOLDERS = ('stackoverflow', tff_files.SUBFOLDER, 'datasets')  # Keras puts the counts into the last
LENGTH = 20  # words
BEGIN, END = words.NUM_SPECIAL, words.NUM_SPECIAL + 1
NUM_SPECIAL = words.NUM_SPECIAL + 2


def stackoverflow(
  *,
  data_dir: str | None = None,
  data_seed: int = 0,
  num_clients: Annotated[int, (1, None)] = 100,
  max_sentences: Annotated[int, (1, None)] = 128,
  num_words: Annotated[int, (1, None)] = 10_000,
) -> base.DataSet:
  """Returns the users' sentences, x int32 [n, 20], and y [n, 20], the word that comes next, -1 behind the last.

  Args:
    data_dir: Folder with the data's files; without it $FEDPROX_DATA_DIR, then the cache.
    data_seed: Seed of the split over clients.
    num_clients: Number of users, drawn among all.
    max_sentences: Most sentences of a user, for training and for testing each.
    num_words: Most words in the vocabulary, beside padding, unknown words, beginnings and ends.
  """

  def load(partition: None = None) -> base.FederatedDataset:
    del partition  # users are the clients
    path = _find(data_dir)
    users = tff_files.clients(path, 'train')
    require(len(users) >= num_clients, f'--num_clients={num_clients}: {path} has {len(users)} users.')
    drawn = np.sort(streams.generator('data', data_seed).choice(len(users), num_clients, replace=False))
    names = [users[place] for place in drawn]
    train, test = ([_sentences(path, part, name, max_sentences) for name in names] for part in ('train', 'test'))
    counts = sources.find(data_dir, SUBFOLDERS, [COUNTS])
    if counts:
      vocabulary = _most_counted(counts[0], num_words)
    else:
      vocabulary = words.most_frequent((sentence for user in train for sentence in user), num_words)
    places = words.places_of(vocabulary, NUM_SPECIAL)
    return base.FederatedDataset(
      name='stackoverflow',
      client_ids=base.client_ids(num_clients),
      train=base.split_from_clients([encode(user, places) for user in train]),
      test=base.split_from_clients([encode(user, places) for user in test]),
      num_classes=NUM_SPECIAL + len(vocabulary),
      source=f'{path}, {num_clients} of {len(users)} users, words of {counts[0] if counts else "their sentences"}',
      inputs=Inputs('tokens', vocabulary=NUM_SPECIAL + len(vocabulary)),
    )

  # The learning rate is FedOpt's for federated averaging, 10^-1/2.
  return base.DataSet('stackoverflow', 'Stack Overflow', 0.316, load, num_clients=num_clients, model='lstm')


def encode(sentences: Sequence[Sequence[str]], places: Mapping[str, int]) -> base.Examples:
  """Returns sentences as x and y, int32 [n, 20]; `places` are those of words from `NUM_SPECIAL` on."""
  numbers = np.full((len(sentences), LENGTH + 1), words.PADDING, np.int32)
  numbers[:, 0] = BEGIN
  numbers[:, 1:] = words.encode(sentences, places, LENGTH)
  for row, sentence in zip(numbers, sentences, strict=True):
    if len(sentence) < LENGTH:
      row[1 + len(sentence)] = END
  following = numbers[:, 1:]
  return base.Examples(numbers[:, :-1], np.where(following == words.PADDING, -1, following))


def _find(data_dir: str | None) -> str:
  paths = sources.find(data_dir, SUBFOLDERS, [SQLITE])
  how = "tff.simulation.datasets.stackoverflow.load_data(cache_dir='FOLDER') downloads it."
  require(paths, f'--dataset=stackoverflow: {SQLITE} {sources.nowhere(data_dir, SUBFOLDERS)} {how}')
  return paths[0]


def _sentences(path: str, part: str, user: str, most: int) -> list[list[str]]:
  serialized = tff_files.examples_of(path, part, user, most)
  return [text.split() for text in tff_files.texts(path, serialized, 'tokens')]


def _most_counted(path: str, most: int) -> list[str]:
  """Returns the first words of TFF's table, which begins with those that the most users have."""
  counted = []
  try:
    with open(path, encoding='utf-8') as file:
      for number, line in enumerate(file, start=1):
        fields = line.split()
        require(len(fields) == 2 and fields[1].isdecimal(), f'{path}: line {number} is no word and its count.')
        counted.append(fields[0])
        if len(counted) == most:
          break
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(f'{path} cannot be read: {error}.') from error
  require(counted and len(set(counted)) == len(counted), f'{path} has no words, or a word twice.')
  return counted
