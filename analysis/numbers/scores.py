# SPDX-License-Identifier: Apache-2.0
"""Numbers of a figure's curves: test accuracy over seeds, and the differences to the first curve, seed by seed."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analysis.arguments import plain
from analysis.numbers import bands
from analysis.read.cells import Cell, measured
from analysis.read.figures import Figure
from fedprox_tff.training.columns import ROUND_NUM, TEST_ACCURACY

LAST = 10
# Of a run's accuracies, by round.
SCORES: dict[str, Callable[[pd.Series], float]] = {
  'final': lambda accuracies: accuracies.iloc[-1],
  'best': lambda accuracies: accuracies.max(),
  'last_ten': lambda accuracies: accuracies.tail(LAST).mean(skipna=False),
}


def scores_of(cell: Cell, accuracy: str = TEST_ACCURACY.name) -> pd.DataFrame:
  """Returns a row for each seed that measured it, a column for each of SCORES, of an accuracy in metrics.csv."""
  series = {seed: measured(frame, accuracy) for seed, frame in cell.runs.items()}
  accuracies = {seed: values for seed, values in series.items() if len(values)}
  return pd.DataFrame({name: {s: score(a) for s, a in accuracies.items()} for name, score in SCORES.items()})


def score_table(cells: Sequence[Cell], baseline: str = '', accuracy: str = TEST_ACCURACY.name) -> pd.DataFrame:
  """Returns a row for each cell: mean and deviation of each score, and of its difference to that of its `partner`.

  `<score>_diff_*` are the mean, the deviation, and the ends of the 95 % interval of the differences between runs that
  have the same seed, of which there are `pairs`. Shares, not percent; NaN where there is nothing.
  """
  scores = [scores_of(cell, accuracy) for cell in cells]
  rows = []
  for cell, mine in zip(cells, scores, strict=True):
    other = baseline_of(cell, cells, baseline)
    row = {'panel': cell.panel, 'curve': plain(cell.curve), 'partner': plain(other.curve), 'seeds': len(mine)}
    row |= {f'{name}_{key}': value for name in SCORES for key, value in _summary(mine[name]).items()}
    if other is not cell:
      differences = (mine - scores[cells.index(other)]).dropna(how='all')
      row['pairs'] = len(differences)
      for name in SCORES:
        row |= {f'{name}_diff_{key}': value for key, value in _summary(differences[name], interval=True).items()}
    rows.append(row)
  return pd.DataFrame(rows)


def baseline_of(cell: Cell, cells: Sequence[Cell], name: str = '') -> Cell:
  """Returns what a cell is compared with in its panel: its partner, or else the curve of that name, or the first."""
  panel = [other for other in cells if other.column == cell.column and other.row == cell.row]
  named = [other for wanted in (cell.partner, name) for other in panel if wanted and other.curve == wanted]
  return (named or panel)[0]


def curve_table(figure: Figure, cells: Sequence[Cell]) -> pd.DataFrame:
  """Returns mean and deviation over seeds of a figure's curves: a row for each round, and five lines of headings.

  `pandas.read_csv(file, header=[0, 1, 2, 3, 4], index_col=0)` reads it.
  """
  columns = {}
  for cell in cells:
    for y in dict.fromkeys(row.y for row in figure.rows):
      values = cell.values(y)
      if not values.empty:
        heading = cell.panel, plain(cell.curve), f'{values.shape[1]} seeds', y
        columns[*heading, 'mean'] = values.mean(axis=1, skipna=False)
        columns[*heading, 'std'] = values.std(axis=1, skipna=False)
  names = ['panel', 'curve', 'seeds', 'quantity', ROUND_NUM.name]
  return pd.concat(columns, axis=1, names=names).sort_index().rename_axis(None)


def _summary(values: pd.Series, *, interval: bool = False) -> dict[str, float]:
  with np.errstate(all='ignore'):
    summary = {'mean': values.mean(skipna=False), 'std': values.std(skipna=False)} if len(values) else {}
  summary = {'mean': np.nan, 'std': np.nan} | summary
  if interval:
    half = summary['std'] * bands.t_factor(len(values)) if len(values) > 1 else np.nan
    summary |= {'low': summary['mean'] - half, 'high': summary['mean'] + half}
  return summary
