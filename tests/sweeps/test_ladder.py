# SPDX-License-Identifier: Apache-2.0
"""The values that a search may try, by hand."""

import pytest

from fedprox_tff.sweeps import ladder


@pytest.mark.parametrize(
  ('of', 'rungs', 'start'),
  [
    ((0.03, 3.1623, 1e-3, 1.0), (0.003, 0.0095, 0.03, 0.095, 0.3, 0.95), 2),  # 0.00095 is below, 3.0 above
    ((0.01, 3.1623, 0.001, 0.1), (0.001, 0.0032, 0.01, 0.032, 0.1), 2),  # the ends are rungs, as rounded
    ((0.1, 10, 0.1, 1000), (0.1, 1.0, 10.0, 100.0, 1000.0), 0),
    ((0.2, 2, 0.15, 0.25), (0.2,), 0),
    ((0.99, 1.1, 0.8, 1.2), (0.82, 0.9, 0.99, 1.1, 1.2), 2),
  ],
)
def test_rungs_are_a_factor_apart_from_low_to_high(of, rungs, start):
  start_value, factor, low, high = of
  made = ladder.build('mu', start=start_value, factor=factor, low=low, high=high)
  assert made == ('mu', rungs, start)
  assert all(isinstance(rung, float) for rung in made.rungs)


def test_whole_numbers_are_rounded_and_there_once():
  made = ladder.build('epochs', start=4, factor=1.5, low=1, high=100, is_whole=True)
  # 4 * 1.5^i: 0.79, 1.2, 1.8, 2.7, 4, 6, 9, 13.5 (of two digits 14 or 13), 20, 30, 46, 68; 102.5 is 100 of two digits.
  assert made.rungs == (1, 2, 3, 4, 6, 9, 14, 20, 30, 46, 68, 100)
  assert made.start == 3
  assert all(isinstance(rung, int) for rung in made.rungs)


@pytest.mark.parametrize(('value', 'rounded'), [(0.0094868, 0.0095), (123.4, 120.0), (1, 1.0), (9.96, 10.0)])
def test_two_digits(value, rounded):
  assert ladder.two_digits(value) == rounded


def test_the_smallest_allowed_factor_makes_no_two_rungs_equal():
  made = ladder.build('mu', start=1.0, factor=ladder.LEAST_FACTOR, low=1e-9, high=1e9)
  assert len(made.rungs) == 435  # 217 rungs of 1.1 in nine decades: 9 / log10(1.1) = 217.4
