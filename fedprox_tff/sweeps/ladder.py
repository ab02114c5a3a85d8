# SPDX-License-Identifier: Apache-2.0
"""The values of a flag that a search may try: a ladder whose rungs are a factor apart."""

from typing import NamedTuple

LEAST_FACTOR = 1.1  # of a smaller one, two digits would not tell the rungs apart


class Ladder(NamedTuple):
  """The values of one flag."""

  flag: str
  rungs: tuple[float, ...]  # from small to large, all different; whole numbers for a flag of whole numbers
  start: int  # the index of the rung that a search begins at


def build(flag: str, *, start: float, factor: float, low: float, high: float, is_whole: bool = False) -> Ladder:
  """Returns the ladder of `start * factor^i`, rounded to two significant digits, from `low` to `high`.

  Args:
    flag: The flag.
    start: Where a search begins, 0 < low <= start <= high; of at most two significant digits.
    factor: From a rung to the next, at least `LEAST_FACTOR`.
    low: The smallest allowed value.
    high: The largest allowed value.
    is_whole: Whether the values are rounded to whole numbers, too; of two that are equal then, one is left.
  """

  def rung(i: int) -> float:
    value = two_digits(start * factor**i)
    return round(value) if is_whole else value

  first = last = 0
  while rung(first - 1) >= low:
    first -= 1
  while rung(last + 1) <= high:
    last += 1
  rungs = tuple(dict.fromkeys(rung(i) for i in range(first, last + 1)))
  return Ladder(flag, rungs, rungs.index(rung(0)))


def two_digits(value: float) -> float:
  """Returns a number rounded to two significant digits."""
  return float(f'{value:.1e}')
