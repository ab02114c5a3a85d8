# SPDX-License-Identifier: Apache-2.0
"""The runs of one curve in one panel of a figure."""

import dataclasses

import pandas as pd

from analysis.read import runs
from fedprox_tff.config.record import PLACES, Config
from fedprox_tff.training.columns import SERVED

# What may differ between the runs of one curve: it changes no value that is compared, or is what a band is over.
FREE = {'seed', 'rounds', 'runtime', 'device', 'rounds_per_evaluation', 'rounds_per_dissimilarity', 'measure_gamma'}
FREE |= PLACES


@dataclasses.dataclass
class Cell:
  """The runs of one curve in one panel: a table of rounds for each seed.

  Attributes:
    row: What its row of panels shows, empty if the rows differ in their quantity alone.
    column: What its column of panels shows.
    curve: The name of the curve.
    config: One of its runs; the others differ in `FREE`.
    grid: The name of the grid that makes its runs, or the file.
    runs: By seed.
    partner: The name of the curve that tables compare it with, empty: the first one of its panel.
  """

  row: str
  column: str
  curve: str
  config: Config
  grid: str
  runs: dict[int, pd.DataFrame] = dataclasses.field(default_factory=dict)
  partner: str = ''

  def __str__(self) -> str:
    return f'{self.panel}, {self.curve}' if self.panel else self.curve

  @property
  def panel(self) -> str:
    """What the cell's panel shows."""
    return ', '.join(filter(None, (self.column, self.row)))

  def values(self, y: str) -> pd.DataFrame:
    """Returns a row for each round that all seeds have measured, a column for each seed; empty if there is none."""
    series = {seed: measured(frame, y) for seed, frame in self.runs.items()}
    return pd.concat(series, axis=1, join='inner') if series else pd.DataFrame()


def measured(frame: pd.DataFrame, y: str, *, served: bool = True) -> pd.Series:
  """Returns a run's values of `y` by round, where they were measured. A diverged loss can be NaN all the same.

  Of clients' own models, where clients have none, it is those of the global model, which serves all of them; unless
  `served` is off, and then there are none.
  """
  if served and y in SERVED and y in frame and frame[y].isna().all():
    y = SERVED[y]
  if y not in frame:
    return pd.Series(dtype=float)
  rows = runs.evaluated(frame) if y in runs.EVALUATION else frame[frame[y].notna()]
  return rows.set_index(runs.ROUND_NUM, drop=False)[y]
