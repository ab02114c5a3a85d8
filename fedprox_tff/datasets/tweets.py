# SPDX-License-Identifier: Apache-2.0
"""Tweets as numbers: the places of their first 25 words in a vocabulary, and vectors of these words."""

from collections.abc import Sequence

import numpy as np

from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import words
from fedprox_tff.datasets.base import Examples

LENGTH = 25  # words of a tweet that are read, as in FedProx's code
NUM_WORDS = 10_000  # of a vocabulary whose vectors are learned
NUM_CLASSES = 2  # negative and positive


def encode(
  train: Sequence[Examples],
  test: Sequence[Examples],
  *,
  num_words: int | None = None,
  vectors_path: str | None = None,
) -> tuple[list[Examples], list[Examples], Inputs]:
  """Returns the clients' examples with x int32 [n, 25], and what x means.

  Without a file of vectors the vocabulary is of the most frequent words of the training tweets. With one it is of those
  words of all tweets that have a vector: nothing is learned of them, so that no test tweet tells anything. Padding and
  words that have no place have zeros for a vector, as in LEAF's code.

  Args:
    train: Of each client, x texts, object [n].
    test: The same for testing.
    num_words: How many words a vocabulary has at most. None: 10,000, or all that have a vector.
    vectors_path: A file as `words.read_vectors` reads it, or None.

  Raises:
    DataError: If the file of vectors is not as it should be.
  """
  train_words, test_words = ([[words.split(text) for text in client.x] for client in part] for part in (train, test))
  texts = [text for client in train_words for text in client]
  vectors = None
  if vectors_path is None:
    vocabulary = words.most_frequent(texts, NUM_WORDS if num_words is None else num_words)
  else:
    frequent = words.most_frequent([*texts, *(text for client in test_words for text in client)])
    known = words.read_vectors(vectors_path, frequent)
    vocabulary = [word for word in frequent if word in known][:num_words]
    special = np.zeros((words.NUM_SPECIAL, len(known[vocabulary[0]])), np.float32)
    vectors = np.stack([*special, *(known[word] for word in vocabulary)])
  places = words.places_of(vocabulary)
  encoded = [
    [Examples(words.encode(texts, places, LENGTH), client.y) for texts, client in zip(split, part, strict=True)]
    for split, part in ((train_words, train), (test_words, test))
  ]
  return *encoded, Inputs('tokens', vocabulary=words.NUM_SPECIAL + len(vocabulary), vectors=vectors)
