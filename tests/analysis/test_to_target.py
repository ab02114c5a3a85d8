# SPDX-License-Identifier: Apache-2.0
"""Rounds to a target accuracy and what they take, on accuracies whose means are worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from made_runs import cell_of, frame_of

from analysis.numbers import to_target


@pytest.mark.parametrize(
  ('accuracies', 'first'),
  [
    ([0.0, 0.5, 0.5, 0.5, 0.5, 0.5], 1),  # the mean of rounds 0 to 4 is 0.4
    ([0.5] * 5, 0),
    ([0.5] * 4, np.nan),  # fewer than five rounds
    ([], np.nan),
    ([0.1, 2.0, 0.1, 0.1, 0.2, 0.1, 0.1], np.nan),  # a spike that falls back: the first two means are 0.5
    ([0.6] * 5 + [0.0] * 5 + [0.6] * 6, 10),  # lost: the last mean below is that of rounds 9 to 13
    ([0.0] * 10 + [0.4, 0.6, 0.5, 0.5, 0.5], 10),  # crosses in the last five rounds
    ([0.0] * 10 + [0.4, 0.6, 0.5, 0.5, 0.4], np.nan),
    ([0.0, 0.3, 0.4, 0.6, 0.7, 0.8, 0.8], 1),  # the mean of rounds 1 to 5 is 0.56: the round need not be so good itself
    ([0.0, 0.9, 0.9, 0.3, 0.9, 0.9, 0.9], 0),  # one bad round within means of at least 0.6
    ([0.5] * 6 + [np.nan], np.nan),  # diverged in the end
    ([np.nan] + [0.5] * 6, 1),
  ],
)
def test_the_first_round_from_which_on_the_target_is_kept(accuracies, first):
  series = pd.Series(accuracies, index=range(len(accuracies)), dtype=float)
  assert to_target.rounds_to(series, 0.5) == pytest.approx(first, nan_ok=True)


def test_windows_are_of_evaluated_rounds():
  cell = cell_of('a', [frame_of([0.0, 0.4, 0.6, 0.5, 0.5, 0.5], every=10), frame_of([0.0] * 6, every=10)])
  rounds = to_target.rounds_by_seed(cell, 0.5, 'test/accuracy')
  assert rounds.iloc[0] == 10
  assert np.isnan(rounds.iloc[1])


def test_the_accuracy_is_that_of_a_column():
  own = frame_of([0.0] * 6, **{'personal/accuracy': [0.0, 0.2, 0.4, 0.6, 0.8, 0.5]})
  none = frame_of([0.5] * 6, **{'personal/accuracy': [np.nan] * 6})  # the global model serves these clients
  cell = cell_of('a', [own, none])
  assert to_target.rounds_by_seed(cell, 0.5, 'personal/accuracy').tolist() == [1, 0]
  assert to_target.rounds_by_seed(cell, 0.5, 'test/accuracy').isna().tolist() == [True, False]


def test_what_is_spent_is_added_up_to_the_round_and_with_it():
  spent = {'cohort/gradients': [7.0, 10.0, 20.0, 40.0, 80.0]}  # what round 0 says is before training
  frames = [frame_of([0.1] * 3, every=2, **spent) for _ in range(3)]
  cell = cell_of('a', frames)
  found = to_target.spent_by_seed(cell, pd.Series({0: 2.0, 1: 4.0, 2: np.nan}), 'cohort/gradients')
  assert found.to_dict() == {0: 30, 1: 150}
  assert to_target.spent_by_seed(cell, pd.Series({0: 0.0}), 'cohort/gradients').to_dict() == {0: 0}


def test_what_was_not_written_is_not_guessed():
  partly = frame_of([0.1] * 3, **{'cohort/gradients': [0.0, np.nan, 20.0]})  # went on with a newer version
  cell = cell_of('a', [partly, frame_of([0.1] * 3)])
  assert to_target.spent_by_seed(cell, pd.Series({0: 2.0, 1: 2.0}), 'cohort/gradients').isna().tolist() == [True, True]
