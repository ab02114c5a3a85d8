# SPDX-License-Identifier: Apache-2.0
"""The runs of a paper's figure: each cell's config is made of the figure's definition, and found by config.json.

What takes part in a comparison has finished. What is not there is named, and no value is guessed in its place.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.read import runs
from analysis.read.figures import ADVERSE, BEST, Column, Curve, Figure, Row
from fedprox_tff.config.record import PLACES, Config
from fedprox_tff.core.errors import UserError

# What may differ between the runs of one curve: it changes no value that is compared, or is what a band is over.
FREE = {'seed', 'rounds', 'runtime', 'device', 'rounds_per_evaluation', 'rounds_per_dissimilarity', 'measure_gamma'}
FREE |= PLACES


@dataclasses.dataclass
class Cell:
  """The runs of one curve in one panel: a table of rounds for each seed."""

  row: Row
  column: Column
  curve: Curve
  config: Config
  runs: dict[int, pd.DataFrame] = dataclasses.field(default_factory=dict)

  def __str__(self) -> str:
    return f'{self.panel}, {self.curve.label}'

  @property
  def panel(self) -> str:
    """What the cell's panel shows."""
    return ', '.join(filter(None, (self.column.label, self.row.label)))

  def values(self, y: str) -> pd.DataFrame:
    """Returns a row for each round that all seeds have measured, a column for each seed; empty if there is none."""
    series = {seed: measured(frame, y) for seed, frame in self.runs.items()}
    return pd.concat(series, axis=1, join='inner') if series else pd.DataFrame()


def measured(frame: pd.DataFrame, y: str) -> pd.Series:
  """Returns a run's values of `y` by round, where they were measured. A diverged loss can be NaN all the same."""
  if y not in frame:
    return pd.Series(dtype=float)
  rows = runs.evaluated(frame) if y in runs.EVALUATION else frame[frame[y].notna()]
  return rows.set_index('round_num')[y]


def cells_of(figure: Figure) -> list[Cell]:
  """Returns all cells of a figure, without runs. Rows that differ in their quantity alone share theirs."""
  rows = {str(row.select): row for row in reversed(figure.rows)}
  return [
    Cell(row, column, curve, _config(figure, row, column, curve))
    for column in figure.columns
    for row in reversed(rows.values())
    for curve in figure.curves
  ]


def fill(figure: Figure, results_dir: pathlib.Path) -> tuple[list[Cell], list[str]]:
  """Returns a figure's cells with their runs, and what a reader should know of those that are missing.

  Columns without any run are left out.

  Raises:
    UserError: If there is no run at all.
  """
  cells, notes = cells_of(figure), []
  for path in runs.find_runs(results_dir):
    try:
      written = runs.read_config(path)
      for cell in cells:
        if set(cell.config.differences(written)) <= FREE:
          notes += _add(cell, runs.load_runs([path]))
    except UserError as error:
      notes.append(f'left out: {error}')
  with_runs = [column for column in figure.columns if any(cell.runs for cell in cells if cell.column is column)]
  if not with_runs:
    found = ''.join(f'; {note.rstrip(".")}' for note in notes[:1])
    raise UserError(f'{results_dir}: no run of this figure is in there; {how_to_make(figure, figure.columns)}{found}.')
  cells = [_with_label(cell, with_runs) for cell in cells if cell.column in with_runs]
  for column in figure.columns:
    if column in with_runs:
      notes += check([cell for cell in cells if cell.column is column], figure)
    else:
      notes.append(f'left out: {column.label}: no run; {how_to_make(figure, [column])}')
  return cells, notes


def how_to_make(figure: Figure, columns: Iterable[Column]) -> str:
  """Returns the command that makes the runs of some columns, and where their settings are."""
  grids = list(dict.fromkeys(map(figure.grid_of, columns)))
  files = ', '.join(f'experiments/grids/{grid}.toml' for grid in grids)
  return f'`bash experiments/sweep.sh {" ".join(grids)}` makes {"them" if len(grids) > 1 else "it"} ({files})'


def _config(figure: Figure, row: Row, column: Column, curve: Curve) -> Config:
  slots = {BEST: column.best_mu, ADVERSE: column.adverse_mu}
  values: Mapping[str, Any] = {**figure.select, **column.select, **row.select, **curve.select}
  return Config.from_flags({key: slots.get(value, value) for key, value in values.items()})


def _with_label(cell: Cell, columns: Sequence[Column]) -> Cell:
  best = {column.best_mu for column in columns}
  label = cell.curve.label.format(best_mu=f'= {best.pop():g}' if len(best) == 1 else '> 0')
  return dataclasses.replace(cell, curve=cell.curve._replace(label=label))


def _add(cell: Cell, frame: pd.DataFrame) -> list[str]:
  """Adds a run, or of two that have the same seed the one with more rounds and more that was measured."""
  path, seed = frame['run'].iloc[0], int(frame['config/seed'].iloc[0])
  frame = frame[frame['round_num'] <= cell.column.rounds]
  other = cell.runs.get(seed)
  if other is None or _size(frame) > _size(other):
    cell.runs[seed] = frame
  if other is None or _agree(frame, other):
    return []
  taken, left = cell.runs[seed]['run'].iloc[0], other['run'].iloc[0] if cell.runs[seed] is frame else path
  return [f'left out: {left}: {cell} with seed {seed} is {taken} already, and their values differ']


def _size(frame: pd.DataFrame) -> tuple[int, int]:
  return frame['round_num'].max(), frame.notna().sum().sum()


def _agree(one: pd.DataFrame, other: pd.DataFrame) -> bool:
  columns = ['round_num', *runs.EVALUATION]
  both = runs.evaluated(one)[columns].merge(runs.evaluated(other)[columns], on='round_num')
  return all(both[f'{name}_x'].equals(both[f'{name}_y']) for name in runs.EVALUATION)


def check(cells: list[Cell], figure: Figure) -> list[str]:
  """Takes unfinished runs out of a column's cells, and names them and what is missing."""
  notes = []
  longest = max(frame['round_num'].max() for cell in cells for frame in cell.runs.values())
  expected = {seed for cell in cells for seed in cell.runs}
  for cell in cells:
    for seed, frame in list(cell.runs.items()):
      if frame['round_num'].max() < longest:
        notes.append(f'left out: {frame["run"].iloc[0]}: {frame["round_num"].max()} of {longest} rounds')
        del cell.runs[seed]
    cell.runs = dict(sorted(cell.runs.items()))
    lacking = sorted(expected - cell.runs.keys())
    if not cell.runs:
      notes.append(f'missing: {cell}: no finished run')
    elif lacking:
      seeds = ', '.join(map(str, lacking))
      notes.append(f'missing: {cell}: seed {seeds}: {len(cell.runs)} of {len(expected)} seeds are there')
    for y in {row.y: None for row in figure.rows if row.select == cell.row.select}:
      if cell.runs and cell.values(y).empty:
        notes.append(f'missing: {cell}: {y} was not measured')
  return notes
