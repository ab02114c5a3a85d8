# SPDX-License-Identifier: Apache-2.0
"""Texts letter by letter, as LEAF's Shakespeare has them: 80 letters, and from 80 of a text to the next one.

The letters are those of LEAF's and FedProx's code, in their order. The first is the new line, which LEAF replaces by a
space before it cuts windows, so that its place is free: 0 stands for any letter that is not among the 80. (In theirs
such a letter has no place. Their data have none.)
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedprox_tff.datasets import leaf_files
from fedprox_tff.datasets.base import Examples
from fedprox_tff.datasets.leaf_files import Entry, require

LETTERS = '\n !"&\'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}'
LENGTH = 80  # letters of a window

_PLACES = np.zeros(128, np.uint8)
_PLACES[[ord(letter) for letter in LETTERS]] = np.arange(len(LETTERS))


def encode(text: str) -> np.ndarray:
  """Returns the place of each of a text's letters among the `LETTERS`, uint8 [length], 0 for any other letter."""
  codes = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
  return _PLACES[np.where(codes < len(_PLACES), codes, 0)]


def joined(lines: Sequence[str]) -> str:
  """Returns the one line that LEAF makes of lines: each break is a space, and spaces in a row are one."""
  return re.sub(' {2,}', ' ', ''.join(f'{line}\n' for line in lines).replace('\n', ' '))


def num_windows(text: str, stride: int = 1) -> int:
  """Returns how many windows `windows` makes of a text."""
  return max(0, -((LENGTH - len(text)) // stride))


def windows(text: str, stride: int = 1) -> Examples:
  """Returns every window of a text that a letter follows, as views: x uint8 [n, 80], y uint8 [n].

  Example i is text[i * stride : i * stride + 80] and what comes next.
  """
  codes = encode(text)
  if len(codes) <= LENGTH:
    return Examples(np.empty((0, LENGTH), np.uint8), np.empty(0, np.uint8))
  return Examples(np.lib.stride_tricks.sliding_window_view(codes, LENGTH)[:-1:stride], codes[LENGTH::stride])


def is_text(x: Any, y: Any) -> bool:
  """Tells whether a LEAF file's x and y, of one user with examples, are texts and letters."""
  return all(isinstance(each, list) and each and isinstance(each[0], str) for each in (x, y)) and len(y[0]) == 1


def from_leaf(entry: Entry) -> Examples:
  """Returns the examples that a LEAF file has for a user: texts of one length, and the letter behind each.

  Raises:
    DataError: If they are not.
  """
  for name, values in (('x', entry.x), ('y', entry.y)):
    is_list = isinstance(values, list) and all(isinstance(value, str) for value in values)
    require(is_list, f'{entry.where}: {name} is no list of texts.')
  (x, y), length = (entry.x, entry.y), len(entry.x[0]) if entry.x else 0
  require(len(x) == len(y) == entry.count, leaf_files.miscounted(entry))
  require(not x or length, f'{entry.where}: x has a text without a letter.')
  require(all(len(text) == length for text in x), f'{entry.where}: x has texts of unequal lengths.')
  require(all(len(letter) == 1 for letter in y), f'{entry.where}: y are not all single letters.')
  return Examples(encode(''.join(x)).reshape(-1, length) if x else np.empty((0, 0), np.uint8), encode(''.join(y)))
