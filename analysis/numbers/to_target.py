# SPDX-License-Identifier: Apache-2.0
"""What runs take until they have reached a target accuracy for good: rounds, and what is added up over rounds."""

import numpy as np
import pandas as pd

from analysis.read.cells import Cell, measured
from analysis.read.runs import ROUND_NUM

WINDOW = 5  # evaluated rounds in a row


def rounds_to(accuracies: pd.Series, target: float) -> float:
  """Returns the first round from which on a run's accuracy stays at a target, in means of WINDOW evaluated rounds.

  It is the first round of the first window whose mean, and that of all later windows, is at least the target. So a
  single good round does not count, nor does a stretch that is lost again.

  Args:
    accuracies: By evaluated round, in rising order. A window with a NaN does not reach the target.
    target: In the same unit.

  Returns:
    The round; NaN if the last window is below the target, or if there are fewer than WINDOW rounds.
  """
  if len(accuracies) < WINDOW:
    return np.nan
  means = np.lib.stride_tricks.sliding_window_view(accuracies.to_numpy(), WINDOW).mean(axis=1)
  below = np.flatnonzero(~(means >= target))
  first = below[-1] + 1 if len(below) else 0
  return float(accuracies.index[first]) if first < len(means) else np.nan


def rounds_by_seed(cell: Cell, target: float, accuracy: str) -> pd.Series:
  """Returns `rounds_to` of each seed's run, of the accuracy in a column of metrics.csv."""
  rounds = {seed: rounds_to(measured(frame, accuracy), target) for seed, frame in cell.runs.items()}
  return pd.Series(rounds, dtype=float)


def spent_by_seed(cell: Cell, rounds: pd.Series, column: str) -> pd.Series:
  """Returns the sum of a column of metrics.csv over rounds 1 to `rounds[seed]`, of the seeds that have such a round.

  It is NaN where a run has not written the column in all of these rounds.
  """
  sums = {seed: _sum_to(cell.runs[seed], last, column) for seed, last in rounds.dropna().items()}
  return pd.Series(sums, dtype=float)


def _sum_to(frame: pd.DataFrame, last: float, column: str) -> float:
  if column not in frame:
    return np.nan
  return frame.loc[frame[ROUND_NUM].between(1, last), column].sum(skipna=False)
