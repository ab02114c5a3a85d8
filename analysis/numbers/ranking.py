# SPDX-License-Identifier: Apache-2.0
"""Methods ranked: accuracies, paired differences and rounds to a target accuracy, as numbers and in words."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.arguments import plain
from analysis.numbers import scores
from analysis.numbers.formats import MISSING, Table, number, spread
from analysis.read.cells import Cell, measured
from analysis.read.comparisons import Comparison
from fedprox_tff.sweeps.search import Choice
from fedprox_tff.training.columns import PERSONAL_ACCURACY, TEST_ACCURACY, TRAIN_LOSS

_SCORE = 'last_ten'  # what the methods are ranked by


def rounds_to(frame: pd.DataFrame, target: float) -> float:
  """Returns the first round whose test accuracy is at least the target; NaN if no round's is."""
  accuracies = measured(frame, TEST_ACCURACY.name)
  reached = accuracies.index[accuracies >= target]
  return float(reached[0]) if len(reached) else np.nan


def rounds_by_seed(cell: Cell, target: float) -> pd.Series:
  """Returns `rounds_to` of each seed's run."""
  return pd.Series({seed: rounds_to(frame, target) for seed, frame in cell.runs.items()}, dtype=float)


def ranking(comparison: Comparison) -> pd.DataFrame:
  """Returns a row for each method in each panel, the best first.

  `scores.score_table` with, beside its columns: `rank` by the mean test accuracy of the last ten rounds; `baseline`,
  which differences are to; `chosen`, what the search found in words; `rounds_mean`, `rounds_std` of the `reached`
  seeds that get to the target; `loss_*` and `personal_*`, means over the last ten rounds.
  """
  table = scores.score_table(comparison.cells)
  more = [_row(comparison, i) for i in range(len(comparison.cells))]
  table = pd.concat([table, pd.DataFrame(more)], axis=1)
  ranked = [
    table.loc[panel].sort_values(f'{_SCORE}_mean', ascending=False, kind='stable', na_position='last')
    for panel in comparison.panels()
  ]
  ranked = [rows.assign(rank=range(1, len(rows) + 1)) for rows in ranked]
  table = pd.concat(ranked, ignore_index=True)
  first = ['panel', 'rank', 'curve']
  return table[[*first, *(column for column in table if column not in first)]]


def tables(comparison: Comparison, table: pd.DataFrame) -> Iterator[Table]:
  """Yields a panel's ranking in words."""
  with_personal = table['personal_mean'].notna().any()
  first = plain(comparison.cells[0].curve)
  header = ['rank', 'method', 'chosen', 'seeds', 'accuracy', f'difference to {first}']
  header += [f'rounds to {100 * comparison.target:g} %', 'training loss', *(['personal'] if with_personal else [])]
  legend = f'test accuracy in percent and training loss, means of the last {scores.LAST} rounds, ± standard deviation '
  legend += (
    f'over seeds; difference to {first} in points of percent, seed by seed [95 % interval]; first round with the '
  )
  legend += 'target accuracy, mean of the seeds that reach it (how many do); (end): of the values tried'
  for i, (panel, rows) in enumerate(table.groupby('panel', sort=False)):
    title = f'{comparison.name}, {panel}: {"as above" if i else legend}'
    body = [_words(row, first, personal=with_personal) for row in rows.to_dict('records')]
    yield Table(title, header, body, labels=3)


def in_words(choice: Choice) -> str:
  """Returns what a search found, such as "learning rate 0.03, beta 0.1 (end)"."""
  return ', '.join(
    f'{flag.replace("_", " ")} {value:g}{" (end)" if flag in choice.ends else ""}'
    for flag, value in choice.values.items()
  )


def _row(comparison: Comparison, i: int) -> dict[str, Any]:
  cell, choice = comparison.cells[i], comparison.choices[i]
  rounds = rounds_by_seed(cell, comparison.target)
  row = {'baseline': plain(scores.baseline_of(cell, comparison.cells).curve)}
  row |= {'chosen': in_words(choice) if choice else MISSING}
  row |= {'rounds_mean': rounds.mean(), 'rounds_std': rounds.std(), 'reached': int(rounds.notna().sum())}
  for name, y in (('loss', TRAIN_LOSS.name), ('personal', PERSONAL_ACCURACY.name)):
    series = [measured(frame, y).tail(scores.LAST) for frame in cell.runs.values()]
    means = pd.Series([values.mean(skipna=False) for values in series if len(values)], dtype=float)
    with np.errstate(all='ignore'):  # diverged values overflow
      row |= {f'{name}_mean': means.mean(skipna=False), f'{name}_std': means.std(skipna=False)}
  return row


def _words(row: dict[str, Any], first: str, *, personal: bool) -> Sequence[str]:
  words = [str(row['rank']), row['curve'], row['chosen'], str(row['seeds'])]
  words += [spread(row[f'{_SCORE}_mean'], row[f'{_SCORE}_std']), _difference(row, first)]
  words += [_rounds(row), _loss(row)]
  return [*words, spread(row['personal_mean'], row['personal_std'])] if personal else words


def _difference(row: dict[str, Any], first: str) -> str:
  mean, low, high = (row[f'{_SCORE}_diff_{key}'] for key in ('mean', 'low', 'high'))
  if np.isnan(mean):
    return MISSING
  interval = f' [{number(low, "+")}, {number(high, "+")}]' if not np.isnan(low) else ''
  other = f' to {row["baseline"]}' if row['baseline'] != first else ''
  return f'{number(mean, "+")}{interval}{other}'


def _rounds(row: dict[str, Any]) -> str:
  if not row['seeds']:
    return MISSING
  deviation = f' ± {row["rounds_std"]:.1f}' if row['reached'] > 1 else ''
  mean = f'{row["rounds_mean"]:.1f}{deviation}' if row['reached'] else MISSING
  return f'{mean} ({row["reached"]}/{row["seeds"]})'


def _loss(row: dict[str, Any]) -> str:
  mean, std = row['loss_mean'], row['loss_std']
  if not row['seeds']:
    return MISSING
  if not np.isfinite(mean):
    return 'diverged'
  return f'{mean:.3g} ± {std:.2g}' if np.isfinite(std) else f'{mean:.3g}'
