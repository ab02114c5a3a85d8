# SPDX-License-Identifier: Apache-2.0
"""Comparisons of methods: the curves of a grid with a [search] and a [target], each with the value that it chose.

The choice is made again from the search's runs, by the sweep's own rule. Runs are found by their config.json.
"""

import collections
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from analysis.arguments import plain
from analysis.draw import labels
from analysis.read import figure_runs, runs
from analysis.read.cells import Cell
from analysis.read.figures import Figure, Row
from analysis.read.runs import ROUND_NUM
from fedprox_tff.config.record import PLACES, Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grids, search
from fedprox_tff.sweeps.grids import Grid
from fedprox_tff.sweeps.search import Choice
from fedprox_tff.sweeps.trials import Trial
from fedprox_tff.training import columns, metrics_file


class Comparison(NamedTuple):
  """A grid's cells with their runs: a column of panels for each point of the grid, a curve for each method."""

  name: str
  target: float  # the accuracy that counts rounds
  ranked_by: str  # the column of metrics.csv with the accuracy that methods are ranked by
  rounds: int
  figure: Figure
  cells: list[Cell]
  choices: list[Choice | None]  # of each cell; None where the search has not ended

  def panels(self) -> list[list[int]]:
    """Returns the indices of each panel's cells."""
    numbers = collections.defaultdict(list)
    for i, cell in enumerate(self.cells):
      numbers[cell.panel].append(i)
    return list(numbers.values())


def fill(path: pathlib.Path, results_dir: pathlib.Path) -> tuple[Comparison, list[str]]:
  """Returns the comparison that a grid describes, and what a reader should know of missing runs.

  Raises:
    UserError: If the grid is no comparison, or none of its searches has ended.
  """
  grid = grids.read(path, {'results_dir': str(results_dir)})
  if not grid.trials or grid.target is None:
    raise UserError(f'{path}: [search] and [target] are needed for a comparison of methods.')
  makes = f'`bash experiments/sweep.sh {path.stem if path.parent == grids.FOLDER else path}`'
  if not results_dir.is_dir():
    raise UserError(f'{results_dir} does not exist; {makes} makes runs there.')
  there, notes = _Runs(results_dir), []
  made, choices = [], []
  for trial in grid.trials:
    choice = search.look(trial, search.Results(there.find)).choice
    config = choice.cells[0] if choice else trial.start
    cell = Cell('', _column(trial), trial.curve, config, grid.name, partner=trial.partner)
    if choice is None:
      notes.append(f'missing: {plain(str(cell))}: its search has not ended')
    for config in choice.cells if choice else ():
      folder = there.find(config)
      if folder:
        frame = runs.load_runs([folder])
        cell.runs[config.seed] = frame[frame[ROUND_NUM] <= config.rounds]
    made.append(cell)
    choices.append(choice)
  if not any(cell.runs for cell in made):
    raise UserError(f'{results_dir}: no finished run of {path.stem} is in there; {makes} makes them.')
  figure = _figure(grid, made)
  for column in figure.columns:
    of_column = [cell for cell in made if cell.column == column]
    if any(cell.runs for cell in of_column):
      notes += figure_runs.check(of_column, figure)
    else:
      notes.append(f'missing: {column}: no finished run')
  rounds = max(cell.config.rounds for cell in made)
  return Comparison(grid.name, grid.target, grid.ranked_by, rounds, figure, made, choices), notes


def filled(
  paths: Sequence[pathlib.Path], results_dir: pathlib.Path
) -> Iterator[tuple[pathlib.Path, Comparison, list[str]]]:
  """Yields each comparison with its notes; of several, those that have no runs are named and passed over.

  Raises:
    UserError: If a lone comparison has no runs, or none of several has.
  """
  errors = []
  for path in paths:
    try:
      yield path, *fill(path, results_dir)
    except UserError as error:
      errors.append(error)
      if len(errors) == len(paths):
        raise
      print(f'{path.stem}: {error}', file=sys.stderr)


class _Runs:
  """The runs below a folder, wherever they lie and whatever their names."""

  def __init__(self, results_dir: pathlib.Path):
    self._runs = collections.defaultdict(list)
    for path in runs.find_runs(results_dir):
      try:
        written = runs.read_config(path)
      except UserError:
        continue  # none that could be one of these
      self._runs[_identity(written)].append(path)

  def find(self, config: Config) -> pathlib.Path | None:
    """Returns the folder of the finished run of a config; None if there is none."""
    paths = self._runs[_identity(config.flat())]
    return next((path for path in paths if len(metrics_file.read(path).rows) > config.rounds), None)


def _identity(flat: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
  """Returns what tells a run apart from all others, whatever its rounds."""
  return frozenset((key, str(value)) for key, value in flat.items() if key not in PLACES | {'rounds'})


def _column(trial: Trial) -> str:
  words = labels.say_all(trial.start.flat(), list(trial.point))
  return words[:1].upper() + words[1:]


def _figure(grid: Grid, cells: list[Cell]) -> Figure:
  rows = [Row(grid.ranked_by), Row(columns.TRAIN_LOSS.name)]
  return Figure(grid.title, rows, list(dict.fromkeys(cell.column for cell in cells)), cells)
