# SPDX-License-Identifier: Apache-2.0
"""Methods ranked, as numbers: accuracies, paired differences, and what they took to reach a target accuracy."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.numbers import scores, to_target
from analysis.read.cells import Cell, measured
from analysis.read.comparisons import Comparison
from fedprox_tff.sweeps import search
from fedprox_tff.sweeps.search import Choice
from fedprox_tff.training.columns import COHORT_FLOATS, COHORT_GRADIENTS, PERSONAL_ACCURACY, TEST_ACCURACY, TRAIN_LOSS

SCORE = 'last_ten'  # what the methods are ranked by
SPENT = {'gradients': COHORT_GRADIENTS.name, 'floats': COHORT_FLOATS.name}  # what is added up until the target
_BESIDE = {'loss': TRAIN_LOSS.name, 'global': TEST_ACCURACY.name, 'own': PERSONAL_ACCURACY.name}


def ranking(comparison: Comparison) -> pd.DataFrame:
  """Returns a row for each method in each panel, the best first.

  `scores.score_table` with, beside its columns: `rank` by the mean accuracy of the last ten rounds, which is that of
  the column of metrics.csv `ranked_by`; of the search `chosen` and `ends`, as 'flag=value, flag=value', `note`,
  `search_runs` and `search_steps`; `rounds_mean`, `rounds_std` of the `reached` seeds that get to the target, and
  `gradients_*` and `floats_*` that these took; `loss_*`, `global_*` and `own_*`, means over the last ten evaluated
  rounds of the training loss and of the test accuracies of the global model and of clients' own models, NaN where there
  are none.
  """
  table = scores.score_table(comparison.cells, accuracy=comparison.ranked_by)
  pairs = zip(comparison.cells, comparison.choices, strict=True)
  table = pd.concat([table, pd.DataFrame([_row(comparison, *pair) for pair in pairs])], axis=1)
  ranked = [
    table.loc[panel].sort_values(f'{SCORE}_mean', ascending=False, kind='stable', na_position='last')
    for panel in comparison.panels()
  ]
  ranked = [rows.assign(rank=range(1, len(rows) + 1)) for rows in ranked]
  table = pd.concat(ranked, ignore_index=True)
  first = ['panel', 'rank', 'curve']
  return table[[*first, *(column for column in table if column not in first)]]


def _row(comparison: Comparison, cell: Cell, choice: Choice | None) -> dict[str, Any]:
  row = {'ranked_by': comparison.ranked_by, **_search(choice)}
  rounds = to_target.rounds_by_seed(cell, comparison.target, comparison.ranked_by)
  row |= {'rounds_mean': rounds.mean(), 'rounds_std': rounds.std(), 'reached': int(rounds.notna().sum())}
  for name, column in SPENT.items():
    row |= _mean_and_std(name, to_target.spent_by_seed(cell, rounds, column))
  for name, y in _BESIDE.items():
    series = [measured(frame, y, served=False).tail(scores.LAST) for frame in cell.runs.values()]
    row |= _mean_and_std(name, pd.Series([each.mean(skipna=False) for each in series if len(each)], dtype=float))
  return row


def _search(choice: Choice | None) -> dict[str, Any]:
  if choice is None:
    return dict.fromkeys(('chosen', 'ends', 'note', 'search_runs', 'search_steps'), np.nan)
  row = {'chosen': search.in_words(choice.values), 'ends': search.in_words(choice.ends) or np.nan}
  row |= {'note': choice.trial.note or np.nan}
  return row | {'search_runs': choice.runs, 'search_steps': choice.local_steps}


def _mean_and_std(name: str, values: pd.Series) -> dict[str, float]:
  with np.errstate(all='ignore'):  # diverged values overflow
    return {f'{name}_mean': values.mean(skipna=False), f'{name}_std': values.std(skipna=False)}
