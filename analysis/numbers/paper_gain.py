# SPDX-License-Identifier: Apache-2.0
"""The paper's rule for its claim that FedProx gains 22 % of test accuracy over FedAvg at 90 % stragglers.

Each run is stopped at its first round t that has converged, |f_t - f_(t-1)| < 1e-4, or diverged,
f_t - f_(t-10) > 1, with f the global training loss; else at its last. The accuracies there are compared, and the
absolute gains averaged over the data sets.

A figure says at which share of stragglers, and what the baseline is.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.arguments import plain
from analysis.draw import labels
from analysis.numbers import scores
from analysis.numbers.formats import MISSING, Table, number
from analysis.read.cells import Cell, measured
from analysis.read.figures import Figure
from fedprox_tff.training.columns import TEST_ACCURACY, TRAIN_LOSS

CONVERGED, DIVERGED, DIVERGED_AFTER = 1e-4, 1.0, 10


def stop_round(losses: pd.Series) -> int:
  """Returns the round at which a run is compared.

  Args:
    losses: By round. What was not evaluated has no difference; a loss that is not finite has diverged.
  """
  change = (losses - losses.reindex(losses.index - 1).to_numpy()).abs()
  rise = losses - losses.reindex(losses.index - DIVERGED_AFTER).to_numpy()
  stops = losses.index[(change < CONVERGED) | (rise > DIVERGED) | ~np.isfinite(losses)]
  return int(stops[0] if len(stops) else losses.index[-1])


def gains(figure: Figure, cells: list[Cell]) -> pd.DataFrame:
  """Returns a row for each panel and curve: accuracies by the rule, and the gain over the baseline.

  Of runs that have a partner of the same seed, `seeds` in all; means over them. Empty if the figure has no such panels.
  """
  rows = []
  for cell in _compared(figure, cells):
    baseline = scores.baseline_of(cell, cells, figure.baseline)
    mine, theirs = _stopped(cell), _stopped(baseline)
    both = sorted(mine.keys() & theirs.keys())
    row = {'dataset': cell.column, 'curve': plain(cell.curve), 'seeds': len(both)}
    for name, stopped in (('baseline', theirs), ('curve', mine)):
      row[f'{name}_accuracy'] = np.mean([stopped[seed][1] for seed in both]) if both else np.nan
      row[f'{name}_rounds'] = np.mean([stopped[seed][0] for seed in both]) if both else np.nan
    rows.append(row | {'gain': row['curve_accuracy'] - row['baseline_accuracy']})
  return pd.DataFrame(rows)


def tables(figure: Figure, cells: list[Cell]) -> Iterator[Table]:
  """Yields the table of the rule, if the figure has what it compares."""
  made = gains(figure, cells)
  if made.empty:
    return
  rows = []
  for curve, group in made.groupby('curve', sort=False):
    for row in group.to_dict('records'):
      accuracies = [f'{number(row[f"{c}_accuracy"])} ({row[f"{c}_rounds"]:.0f})' for c in ('baseline', 'curve')]
      accuracies = accuracies if row['seeds'] else [MISSING, MISSING]
      rows.append([row['dataset'], curve, str(row['seeds']), *accuracies, number(row['gain'], '+')])
    there = group[group['seeds'] > 0]
    rows.append([f'average of {len(there)}', curve, '', '', '', number(there['gain'].mean(), '+')])
  compared = _compared(figure, cells)
  titles = [labels.say(cell.config.flat(), 'algorithm') for cell in compared]
  title = (
    f'The rule of 22 %: test accuracy in percent with {labels.say(compared[0].config.flat(), "stragglers")} where '
  )
  title += (
    f'training has converged, diverged or ended (mean round), and the gain over {figure.baseline}; the paper has '
  )
  title += '+22 on average of 5 data sets (Figure 7)'
  header = ['data', 'curve', 'pairs', figure.baseline, ', '.join(dict.fromkeys(titles)), 'gain']
  yield Table(title, header, rows, labels=2)


def _compared(figure: Figure, cells: list[Cell]) -> list[Cell]:
  """Returns the cells that have a gain: those at the figure's share of stragglers, but for the baseline's."""
  at, name = figure.papers_gain_at, figure.baseline
  return [cell for cell in cells if cell.config.stragglers == at and scores.baseline_of(cell, cells, name) is not cell]


def _stopped(cell: Cell) -> dict[int, tuple[int, float]]:
  """Returns the round at which each seed's run is compared, and its test accuracy there."""
  stopped = {}
  for seed, frame in cell.runs.items():
    round_num = stop_round(measured(frame, TRAIN_LOSS.name))
    stopped[seed] = round_num, measured(frame, TEST_ACCURACY.name)[round_num]
  return stopped
