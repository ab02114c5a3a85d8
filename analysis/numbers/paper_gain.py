# SPDX-License-Identifier: Apache-2.0
"""The paper's rule for its claim that FedProx gains 22 % of test accuracy over FedAvg at 90 % stragglers.

Each run is stopped at its first round t that has converged, |f_t - f_(t-1)| < 1e-4, or diverged,
f_t - f_(t-10) > 1, with f the global training loss; else at its last. The accuracies there are compared, and the
absolute gains averaged over the data sets.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.arguments import plain
from analysis.read.figure_runs import Cell, measured
from analysis.read.figures import ACCURACY, LOSS

CONVERGED, DIVERGED, DIVERGED_AFTER = 1e-4, 1.0, 10
STRAGGLERS = 0.9
PAPERS_GAIN = 0.22


def stop_round(losses: pd.Series) -> int:
  """Returns the round at which a run is compared.

  Args:
    losses: By round. What was not evaluated has no difference; a loss that is not finite has diverged.
  """
  change = (losses - losses.reindex(losses.index - 1).to_numpy()).abs()
  rise = losses - losses.reindex(losses.index - DIVERGED_AFTER).to_numpy()
  stops = losses.index[(change < CONVERGED) | (rise > DIVERGED) | ~np.isfinite(losses)]
  return int(stops[0] if len(stops) else losses.index[-1])


def gains(cells: Sequence[Cell]) -> pd.DataFrame:
  """Returns a row for each data set and curve after the first: accuracies by the rule, and the gain over the first.

  Of runs that have a partner of the same seed, `seeds` in all; means over them. Empty if no panel has 90 % stragglers.
  """
  rows = []
  hard = [cell for cell in cells if cell.row.select.get('stragglers') == STRAGGLERS]
  for cell in hard:
    baseline = next(other for other in hard if other.column == cell.column and other.row == cell.row)
    if baseline is cell or baseline.config.algorithm != 'fedavg':
      continue
    mine, theirs = _stopped(cell), _stopped(baseline)
    both = sorted(mine.keys() & theirs.keys())
    row = {'dataset': cell.column.label, 'curve': plain(cell.curve.label), 'seeds': len(both)}
    for name, stopped in (('fedavg', theirs), ('fedprox', mine)):
      row[f'{name}_accuracy'] = np.mean([stopped[seed][1] for seed in both]) if both else np.nan
      row[f'{name}_rounds'] = np.mean([stopped[seed][0] for seed in both]) if both else np.nan
    rows.append(row | {'gain': row['fedprox_accuracy'] - row['fedavg_accuracy']})
  return pd.DataFrame(rows)


def _stopped(cell: Cell) -> dict[int, tuple[int, float]]:
  """Returns the round at which each seed's run is compared, and its test accuracy there."""
  stopped = {}
  for seed, frame in cell.runs.items():
    round_num = stop_round(measured(frame, LOSS))
    stopped[seed] = round_num, measured(frame, ACCURACY)[round_num]
  return stopped
