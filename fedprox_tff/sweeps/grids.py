# SPDX-License-Identifier: Apache-2.0
"""Grids of runs as TOML files: experiments/grids/figure1_mnist.toml.

    title = 'one line'
    [base]     flags of `fedprox_tff.run` that all cells share; data_seed = 'seed' makes the seed of a run its data seed
    [grid]     flags with lists of values: the cells are their product
    [[panel]]  a name and flags: alternatives, each multiplied with the grid; they overrule [base]
    [[curve]]  the same, each multiplied with the panels and the grid; in the place of a value, a flag may have a table
               with one for each panel, by its name; `curve_section` has its other keys
    [search]   flags whose values are searched for before the cells are run: see `search_section` and `search`
    [target]   accuracy: figures and tables say in which round runs reach it; ranked_by = 'personal/accuracy': both are
               about the accuracy of clients' own models
    [figure]   what is drawn of the cells; or of those of other grids, and then it is these that are run: see
               `figure_section`

A cell is a `Config`. Everything in a file is checked before a sweep's first run.
"""

import contextlib
import dataclasses
import itertools
import math
import pathlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.config.flags import FLAGS
from fedprox_tff.config.record import Config
from fedprox_tff.config.settings import SETTINGS
from fedprox_tff.config.signatures import parameters
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets import DATASETS
from fedprox_tff.sweeps import curve_section, figure_section, grid_checks, search_section, trials
from fedprox_tff.sweeps.figure_section import FigureSection, Limits
from fedprox_tff.sweeps.trials import Trial
from fedprox_tff.training.columns import TEST_ACCURACY

FOLDER = pathlib.Path(__file__).resolve().parents[2] / 'experiments' / 'grids'

_MOST_CELLS = 20_000  # a sweep looks at each of them twice a second
_NAME_BYTES = 240  # of 255 that a folder's name may have; claims append to it


class Cell(NamedTuple):
  """One run of a grid."""

  grid: str  # the file's name without .toml
  curve: str  # the [[curve]]'s name, empty in a grid without curves
  config: Config
  panel: str = ''  # the [[panel]]'s name
  partner: str = ''  # the name of the curve that it is compared with


class Grid(NamedTuple):
  """What a file describes."""

  name: str
  title: str
  cells: list[Cell]  # those that no search decides
  trials: Sequence[Trial] = ()
  target: float | None = None  # an accuracy
  ranked_by: str = TEST_ACCURACY.name  # the column that the target is of
  lists: Sequence[str] = ()  # the flags that have lists in [grid], but for seeds
  limits: Mapping[str, Limits] = {}  # by panel
  figure: FigureSection | None = None

  @property
  def num_cells(self) -> int:
    """How many runs there will be, with as many of searches as their budgets allow."""
    return len(self.cells) + sum(trial.most_runs + len(trial.seeds) for trial in self.trials)


def check_overrides(overrides: Mapping[str, Any]) -> None:
  """Refuses flags that cannot replace what a grid says.

  Raises:
    UserError: If there is one, or if its value is not allowed.
  """
  for key, value in overrides.items():
    if key in grid_checks.NOT_OF_A_CELL and key != 'results_dir':
      raise UserError(f'--{key}: not for a sweep: {grid_checks.NOT_OF_A_CELL[key]}.')
    FLAGS[key].parse(value)


def find(text: str) -> pathlib.Path:
  """Returns the file of a grid that is given as a path, or by its name in experiments/grids.

  Raises:
    UserError: If there is none.
  """
  for path in (pathlib.Path(text), FOLDER / f'{text}.toml', FOLDER / text):
    with contextlib.suppress(ValueError, OSError):  # a NUL in it, or too long a name
      if path.is_file():
        return path
  names = ', '.join(sorted(path.stem for path in FOLDER.glob('*.toml')))
  others = f'or one of {names}' if names else 'since those that have a name are in a clone of the source only'
  raise UserError(f'{text}: no such grid; a TOML file is needed, {others}.')


def read(path: pathlib.Path, overrides: Mapping[str, Any] | None = None) -> Grid:
  """Returns the grid in a file.

  Args:
    path: The file.
    overrides: Flags that replace what the file says of them; a data folder only where the data set has one.

  Raises:
    UserError: If anything in it is not allowed; the message names the file, the key and what is allowed.
  """
  try:
    content = _content(path)
    grid_checks.check_sections(content)
    figure = figure_section.read(content)
    source = _joined if figure and figure.grids else _read
    grid = source(path, content, overrides or {})._replace(title=content.get('title', ''), figure=figure)
    if figure:
      panels, curves = ([cell.panel for cell in grid.cells], [cell.curve for cell in grid.cells])
      figure_section.check_names(figure, lists=grid.lists, panels=panels, curves=curves)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  return grid


def _content(path: pathlib.Path) -> dict[str, Any]:
  """Returns what a file holds."""
  try:
    return tomllib.loads(path.read_text())
  except RecursionError:
    raise UserError('its values are nested too deeply.') from None
  except OSError as error:
    raise UserError(f'it cannot be read ({error.strerror}).') from None
  except ValueError as error:  # not text, not TOML, or a number of thousands of digits
    raise UserError(str(error)) from None


def _read(path: pathlib.Path, content: Mapping[str, Any], overrides: Mapping[str, Any]) -> Grid:
  """Returns the grid that has its cells in its own file."""
  panels, curves = dict(grid_checks.alternatives(content, 'panel')), curve_section.read(content)
  grid_checks.check_panels(content, panels, {curve.name: curve.flags for curve in curves})
  searches = search_section.read(content, curves)
  lists = content.get('grid', {})
  _check_size(math.prod(map(len, [*lists.values(), panels, curves])))
  points = {key: values for key, values in lists.items() if key != 'seed'}
  curve_section.check_partners(curves, list(_product(points)))
  cells, searched = [], []
  if searches is None:
    for (panel, of_panel), curve in itertools.product(panels.items(), curves):
      base = {**content.get('base', {}), **of_panel}
      here = {key: value[panel] if isinstance(value, dict) else value for key, value in curve.flags.items()}
      for point in filter(curve.exists_at, _product(lists)):
        config = _config({**base, **point, **here}, overrides, curve.name)
        cells.append(Cell(path.stem, curve.name, config, panel, curve.partner))
  for curve, section in zip(curves, searches or (), strict=searches is not None):
    here = filter(curve.exists_at, _product(points))
    searched += trials.build(content, here, curve, section, overrides=overrides, config=_config)
  _check_size(sum(trial.most_runs + len(trial.seeds) for trial in searched))
  limits = {table['name']: figure_section.limits_of(table) for table in content.get('panel', [])}
  target = content.get('target', {})
  goal = target.get('accuracy'), target.get('ranked_by', TEST_ACCURACY.name)
  return Grid(path.stem, '', cells, searched, *goal, tuple(points), limits)


def _check_size(num_cells: int) -> None:
  if num_cells > _MOST_CELLS:
    raise UserError(f'{num_cells:,} cells; a grid of at most {_MOST_CELLS:,} is needed: two grids may share a folder.')


def _joined(path: pathlib.Path, content: Mapping[str, Any], overrides: Mapping[str, Any]) -> Grid:
  """Returns the grid that has the cells of others, side by side."""
  grids = [read(_beside(path, name), overrides) for name in content['figure']['grids']]
  for grid in grids:
    if grid.trials:
      raise UserError(f'[figure] grids: {grid.name} has a [search], and so a figure of its own.')
  cells = [cell for grid in grids for cell in grid.cells]
  lists = tuple(dict.fromkeys(key for grid in grids for key in grid.lists))
  return Grid(path.stem, '', cells, lists=lists, limits={k: v for grid in grids for k, v in grid.limits.items()})


def _beside(path: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the grid that a file names: one in the same folder, or of experiments/grids."""
  if '\0' in name:
    raise UserError(f'[figure] grids: {name!r} is no name of a file.')
  neighbour = path.parent / f'{name}.toml'
  found = neighbour if neighbour.is_file() else find(name)
  figure = _content(found).get('figure')
  if isinstance(figure, dict) and 'grids' in figure:
    raise UserError(f'[figure] grids: {name} has no cells of its own; grids that have some are needed.')
  return found


def merge(configs: Iterable[Config]) -> list[Config]:
  """Returns each run once, in the order in which it appears first, with the rounds of the longest.

  Raises:
    UserError: If two different runs would share a folder.
  """
  runs: dict[str, Config] = {}
  for config in configs:
    earlier = runs.setdefault(config.name, config)
    first, flat = earlier.flat(), config.flat()
    for key in {**first, **flat}:
      if flat.get(key) != first.get(key) and key not in ('rounds', 'rounds_per_checkpoint'):
        raise UserError(
          f'{config.name}: cells with this name have --{key}={first.get(key)} and --{key}={flat.get(key)}; '
          'only one of them fits into the folder: sweep them into separate ones with --results_dir.'
        )
    if config.rounds > earlier.rounds:  # it continues the shorter one
      runs[config.name] = dataclasses.replace(earlier, rounds=config.rounds)
  return list(runs.values())


def _product(grid: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
  for values in itertools.product(*grid.values()):
    yield dict(zip(grid, values, strict=True))


def _config(values: Mapping[str, Any], overrides: Mapping[str, Any], curve: str) -> Config:
  values = {**values, **overrides}
  if values.get('data_seed') == grid_checks.AS_SEED:
    values['data_seed'] = values.get('seed', SETTINGS['seed'].default)
  dataset = FLAGS['dataset'].parse(values.get('dataset', FLAGS['dataset'].parameter.default))
  if 'data_dir' in overrides and 'data_dir' not in parameters(DATASETS[dataset]):
    del values['data_dir']  # one --data_dir for a sweep of MNIST and of generated data
  try:
    config = Config.from_flags(values)
    if len(config.name.encode()) > _NAME_BYTES:
      raise UserError(f'{config.name}: a folder cannot have so long a name; fewer values may differ from the defaults.')
  except UserError as error:
    raise UserError(f'[[curve]] {curve}: {error}' if curve else str(error)) from None
  return config
