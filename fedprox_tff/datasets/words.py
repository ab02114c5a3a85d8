# SPDX-License-Identifier: Apache-2.0
"""Texts word by word: how they are split, which words have a place in a vocabulary, and vectors of words.

A text is put into lower case and split, with the pattern of LEAF's and FedProx's code, into runs of letters, digits,
underscores and apostrophes, and into single marks of the six . , ! ? ; and nothing else. (Their code leaves upper case
as it is, so that no word that begins a sentence has a vector of GloVe's, which are of lower case.)
"""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fedprox_tff.core.errors import DataError

PADDING, UNKNOWN = 0, 1  # the places of no word, behind a short text, and of any word without a place of its own
NUM_SPECIAL = 2


def split(text: str) -> list[str]:
  """Returns a text's words and marks in their order."""
  return re.findall(r"[\w']+|[.,!?;]", text.lower())


def most_frequent(texts: Iterable[Sequence[str]], most: int | None = None) -> list[str]:
  """Returns the words of split texts, the most frequent first, those that are as frequent in alphabetical order.

  Args:
    texts: The words of each text.
    most: How many words at most.
  """
  counts = collections.Counter(word for text in texts for word in text)
  return sorted(counts, key=lambda word: (-counts[word], word))[:most]


def places_of(words: Iterable[str], num_special: int = NUM_SPECIAL) -> dict[str, int]:
  """Returns the place of each word in a vocabulary of these words, behind the places that are no words."""
  return {word: place for place, word in enumerate(words, start=num_special)}


def encode(texts: Sequence[Sequence[str]], places: Mapping[str, int], length: int) -> np.ndarray:
  """Returns the places of each text's first words, int32 [texts, length], `PADDING` behind a shorter one's last."""
  encoded = np.full((len(texts), length), PADDING, np.int32)
  for row, text in zip(encoded, texts, strict=True):
    known = [places.get(word, UNKNOWN) for word in text[:length]]
    row[: len(known)] = known
  return encoded


def read_vectors(path: str, wanted: Iterable[str]) -> dict[str, np.ndarray]:
  """Returns the vectors, float32 [size], that a file in GloVe's text format has of some words.

  Each of its lines is a word and the numbers of its vector, with single spaces between them. Lines of other words are
  not looked at any further, since parsing them all would take minutes.

  Args:
    path: The file.
    wanted: The words.

  Raises:
    DataError: If it cannot be read, is not of that format, or has none of the words.
  """
  wanted, vectors, size = frozenset(wanted), {}, 0
  try:
    with open(path, encoding='utf-8', newline='\n') as file:
      for number, line in enumerate(file, start=1):
        size = size or line.count(' ')
        if line.rstrip('\n').partition(' ')[0] in wanted:
          word, *numbers = line.rstrip().rsplit(' ', size)
          if word in wanted:  # and not its first part, of a "word" with a space in it
            vectors[word] = _vector(numbers, size, f'{path}: line {number}')
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(f'{path} cannot be read: {error}.') from error
  if not vectors:
    raise DataError(f'{path} has no vector of any of the {len(wanted)} words.')
  return vectors


def _vector(numbers: Sequence[str], size: int, where: str) -> np.ndarray:
  try:
    vector = np.array(numbers, np.float32)
  except ValueError:
    vector = np.empty(0, np.float32)
  if len(vector) != size or not np.isfinite(vector).all():
    raise DataError(f'{where} is no word with {size} finite numbers, as the first line has.')
  return vector
