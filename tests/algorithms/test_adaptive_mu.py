# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from fedprox_tff.algorithms.fedprox import adaptive


def after_each(losses, initial_mu):
  return [adaptive(initial_mu=initial_mu).after(losses[: i + 1]) for i in range(1, len(losses))]


def test_the_papers_rule():
  """+0.1 for a rise, -0.1 after five falls in a row."""
  losses = [5, 4, 3, 2, 1, 0.9, 1.2, 1.1]
  assert after_each(losses, 1.0) == [1.0, 1.0, 1.0, 1.0, 0.9, 1.0, 1.0]


def test_each_change_starts_the_count_anew():
  falling = list(range(20, 0, -1))
  assert after_each(falling, 1.0)[3:15] == [1.0, *[0.9] * 5, *[0.8] * 5, 0.7]
  assert after_each([9, 8, 7, 6, 5, 6, 5, 4, 3, 2, 1], 0.0) == [*[0.0] * 4, *[0.1] * 5, 0.0]


def test_it_stays_at_least_zero():
  assert after_each(list(range(20, 0, -1)), 0.0) == [0.0] * 19


def test_a_loss_that_stays_changes_nothing_and_ends_a_run_of_falls():
  assert after_each([5, 4, 3, 2, 1, 1, 0.9], 1.0) == [1.0] * 6


def test_a_loss_that_is_not_a_number_counts_as_a_rise():
  assert after_each([2.0, math.nan, math.nan], 0.0) == [0.1, 0.2]


def test_before_two_losses_it_is_the_initial_one():
  assert adaptive(initial_mu=0.3).after([]) == adaptive(initial_mu=0.3).after([1.0]) == pytest.approx(0.3)
