# SPDX-License-Identifier: Apache-2.0
"""The runs of a figure, found by what their config.json says, wherever they lie and whatever their folders' names.

What takes part in a comparison has finished. What is not there is named, and no value is guessed in its place.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.read import runs
from analysis.read.cells import FREE, Cell
from analysis.read.figures import Figure
from analysis.read.runs import ROUND_NUM
from fedprox_tff.core.errors import UserError


def fill(figure: Figure, results_dir: pathlib.Path) -> tuple[list[Cell], list[str]]:
  """Returns a figure's cells with their runs, and what a reader should know of those that are missing.

  Columns without any run are left out.

  Raises:
    UserError: If there is no run at all.
  """
  cells, notes = [dataclasses.replace(cell, runs={}) for cell in figure.cells], []
  by_identity = collections.defaultdict(list)
  for cell in cells:
    by_identity[_identity(cell.config.flat())].append(cell)
  for path in runs.find_runs(results_dir):
    try:
      for cell in by_identity.get(_identity(runs.read_config(path)), ()):
        notes += _add(cell, runs.load_runs([path]))
    except UserError as error:
      notes.append(f'left out: {error}')
  with_runs = [column for column in figure.columns if any(cell.runs for cell in cells if cell.column == column)]
  if not with_runs:
    found = ''.join(f'; {note.rstrip(".")}' for note in notes[:1])
    raise UserError(f'{results_dir}: no run of this figure is in there; {how_to_make(cells)}{found}.')
  for column in figure.columns:
    of_column = [cell for cell in cells if cell.column == column]
    notes += check(of_column, figure) if column in with_runs else [_left_out(column, of_column)]
  return [cell for cell in cells if cell.column in with_runs], notes


def how_to_make(cells: Sequence[Cell]) -> str:
  """Returns the command that makes the runs of some cells, and where their settings are."""
  grids = list(dict.fromkeys(cell.grid for cell in cells))
  files = ', '.join(f'experiments/grids/{grid}.toml' for grid in grids if not grid.endswith('.toml'))
  where = f' ({files})' if files else ''
  return f'`bash experiments/sweep.sh {" ".join(grids)}` makes {"them" if len(grids) > 1 else "it"}{where}'


def check(cells: list[Cell], figure: Figure) -> list[str]:
  """Takes unfinished runs out of a column's cells, and names them and what is missing."""
  notes = []
  longest = max(frame[ROUND_NUM].max() for cell in cells for frame in cell.runs.values())
  expected = {seed for cell in cells for seed in cell.runs}
  for cell in cells:
    for seed, frame in list(cell.runs.items()):
      if frame[ROUND_NUM].max() < longest:
        notes.append(f'left out: {frame["run"].iloc[0]}: {frame[ROUND_NUM].max()} of {longest} rounds')
        del cell.runs[seed]
    cell.runs = dict(sorted(cell.runs.items()))
    lacking = sorted(expected - cell.runs.keys())
    if not cell.runs:
      notes.append(f'missing: {cell}: no finished run')
    elif lacking:
      seeds = ', '.join(map(str, lacking))
      notes.append(f'missing: {cell}: seed {seeds}: {len(cell.runs)} of {len(expected)} seeds are there')
    for y in {row.y: None for row in figure.rows if row.label == cell.row}:
      if cell.runs and cell.values(y).empty:
        notes.append(f'missing: {cell}: {y} was not measured')
  return notes


def _identity(flat: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
  """Returns what all runs of a cell have in common."""
  return frozenset((key, str(value)) for key, value in flat.items() if key not in FREE)


def _left_out(column: str, cells: Sequence[Cell]) -> str:
  return f'left out: {column}: no run; {how_to_make(cells)}'


def _add(cell: Cell, frame: pd.DataFrame) -> list[str]:
  """Adds a run, or of two that have the same seed the one with more rounds and more that was measured."""
  path, seed = frame['run'].iloc[0], int(frame['config/seed'].iloc[0])
  frame = frame[frame[ROUND_NUM] <= cell.config.rounds]
  other = cell.runs.get(seed)
  if other is None or _size(frame) > _size(other):
    cell.runs[seed] = frame
  if other is None or _agree(frame, other):
    return []
  taken, left = cell.runs[seed]['run'].iloc[0], other['run'].iloc[0] if cell.runs[seed] is frame else path
  return [f'left out: {left}: {cell} with seed {seed} is {taken} already, and their values differ']


def _size(frame: pd.DataFrame) -> tuple[int, int]:
  return frame[ROUND_NUM].max(), frame.notna().sum().sum()


def _agree(one: pd.DataFrame, other: pd.DataFrame) -> bool:
  columns = [ROUND_NUM, *runs.EVALUATION]
  both = runs.evaluated(one)[columns].merge(runs.evaluated(other)[columns], on=ROUND_NUM)
  return all(both[f'{name}_x'].equals(both[f'{name}_y']) for name in runs.EVALUATION)
