# SPDX-License-Identifier: Apache-2.0
"""Grids of runs as TOML files: experiments/grids/figure1_mnist.toml.

    title = 'one line'
    [base]     flags of `fedprox_tff.run` that all cells share
    [grid]     flags with lists of values: the cells are their product
    [[curve]]  a name and flags: alternatives, each multiplied with the grid; they overrule [base]

A cell is a `Config`. Everything in a file is checked before a sweep's first run.
"""

import dataclasses
import difflib
import itertools
import pathlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from fedprox_tff.config import Config, parameters
from fedprox_tff.datasets import DATASETS
from fedprox_tff.errors import UserError
from fedprox_tff.flag_values import parse

FOLDER = pathlib.Path(__file__).resolve().parents[1] / 'experiments' / 'grids'

_FIELDS = {field.name: field for field in dataclasses.fields(Config)}
_NOT_OF_A_CELL = {
  'name': 'a cell is named after what differs from the defaults',
  'results_dir': 'the command line of the sweep says it',
  'fallback_dataset': 'a sweep trains on the data that it names, or not at all',
}
_KEYS = tuple(name for name in _FIELDS if name not in _NOT_OF_A_CELL)
_SECTIONS = {'title': str, 'base': dict, 'grid': dict, 'curve': list}
_NAME_BYTES = 240  # of 255 that a folder's name may have; claims append to it


class Cell(NamedTuple):
  """One run of a grid."""

  grid: str  # the file's name without .toml
  curve: str  # the [[curve]]'s name, empty in a grid without curves
  config: Config


class Grid(NamedTuple):
  """What a file describes."""

  name: str
  title: str
  cells: list[Cell]


def check_overrides(overrides: Mapping[str, Any]) -> None:
  """Refuses flags that cannot replace what a grid says.

  Raises:
    UserError: If there is one, or if its value is not allowed.
  """
  for key, value in overrides.items():
    if key in _NOT_OF_A_CELL and key != 'results_dir':
      raise UserError(f'--{key}: not for a sweep: {_NOT_OF_A_CELL[key]}.')
    parse(_FIELDS[key], value)


def find(text: str) -> pathlib.Path:
  """Returns the file of a grid that is given as a path, or by its name in experiments/grids.

  Raises:
    UserError: If there is none.
  """
  for path in (pathlib.Path(text), FOLDER / f'{text}.toml', FOLDER / text):
    if path.is_file():
      return path
  names = ', '.join(sorted(path.stem for path in FOLDER.glob('*.toml')))
  raise UserError(f'{text}: no such grid; a TOML file is needed, or one of {names}.')


def read(path: pathlib.Path, overrides: Mapping[str, Any] | None = None) -> Grid:
  """Returns the grid in a file.

  Args:
    path: The file.
    overrides: Flags that replace what the file says of them; a data folder only where the data set has one.

  Raises:
    UserError: If anything in it is not allowed; the message names the file, the key and what is allowed.
  """
  try:
    content = tomllib.loads(path.read_text())
    _check_sections(content)
    curves = [_curve(table, i) for i, table in enumerate(content.get('curve', []), start=1)] or [('', {})]
    _check_curves(content, [name for name, _ in curves])
    cells = [
      Cell(path.stem, name, _config({**content.get('base', {}), **point, **values}, overrides or {}, name))
      for name, values in curves
      for point in _product(content.get('grid', {}))
    ]
  except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, UserError) as error:
    raise UserError(f'{path}: {error}') from None
  return Grid(path.stem, content.get('title', ''), cells)


def merge(cells: Iterable[Cell]) -> list[Config]:
  """Returns each run once, in the order of its first cell, with the rounds of the longest.

  Raises:
    UserError: If two different runs would share a folder.
  """
  runs: dict[str, Config] = {}
  for cell in cells:
    config = cell.config
    earlier = runs.setdefault(config.name, config)
    for key, value in config.as_dict().items():
      if value != getattr(earlier, key) and key not in ('rounds', 'rounds_per_checkpoint'):
        raise UserError(
          f'{config.name}: cells with this name have --{key}={getattr(earlier, key)} and --{key}={value}; '
          'only one of them fits into the folder: sweep them into separate ones with --results_dir.'
        )
    if config.rounds > earlier.rounds:  # it continues the shorter one
      runs[config.name] = dataclasses.replace(earlier, rounds=config.rounds)
  return list(runs.values())


def _check_sections(content: Mapping[str, Any]) -> None:
  for section, value in content.items():
    if section not in _SECTIONS:
      raise UserError(f'{section}: a grid has only title, [base], [grid] and [[curve]].')
    if not isinstance(value, _SECTIONS[section]):
      needed = {'title': 'text', 'curve': '[[curve]], a list of tables,'}.get(section, f'a table, [{section}],')
      raise UserError(f'{section}: {needed} is needed.')
  for key, value in content.get('base', {}).items():
    _check_value('[base]', key, value)
  for key, values in content.get('grid', {}).items():
    if not isinstance(values, list) or not values:
      raise UserError(f'[grid] {key}: a list of values is needed, such as [0.0, 1.0].')
    for value in values:
      _check_value('[grid]', key, value)
    if key in content.get('base', {}):
      raise UserError(f'[grid] {key}: [base] has it too; one of the two is needed.')


def _check_curves(content: Mapping[str, Any], names: list[str]) -> None:
  for table, name in zip(content.get('curve', []), names, strict=False):
    if names.count(name) > 1:
      raise UserError(f'[[curve]] {name}: two curves have this name.')
    for key in table.keys() & content.get('grid', {}).keys():
      raise UserError(f'[[curve]] {name}: {key}: [grid] has it too; one of the two is needed.')


def _curve(table: Any, number: int) -> tuple[str, dict[str, Any]]:
  """Returns a curve's name and its flags, checked."""
  if not isinstance(table, dict) or not isinstance(table.get('name'), str) or not table['name']:
    raise UserError(f'[[curve]] number {number}: a table with a name is needed, such as name = "FedAvg".')
  values = {key: value for key, value in table.items() if key != 'name'}
  for key, value in values.items():
    _check_value(f'[[curve]] {table["name"]}:', key, value)
  return table['name'], values


def _check_value(where: str, key: str, value: Any) -> None:
  if key in _NOT_OF_A_CELL:
    raise UserError(f'{where} {key}: not in a grid: {_NOT_OF_A_CELL[key]}.')
  if key not in _FIELDS:
    close = difflib.get_close_matches(key, _KEYS, n=1)
    allowed = f'did you mean {close[0]}?' if close else f'allowed are {", ".join(_KEYS)}.'
    raise UserError(f'{where} {key}: no flag of fedprox_tff.run; {allowed}')
  if not isinstance(value, str | int | float):
    raise UserError(f'{where} {key}: one number, text or true or false is needed, not {value}.')
  try:
    parse(_FIELDS[key], value)
  except UserError as error:
    raise UserError(f'{where} {error}') from None


def _product(grid: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
  for values in itertools.product(*grid.values()):
    yield dict(zip(grid, values, strict=True))


def _config(values: Mapping[str, Any], overrides: Mapping[str, Any], curve: str) -> Config:
  values = {**values, **overrides}
  if 'data_dir' in overrides and 'data_dir' not in parameters(DATASETS[values.get('dataset', Config.dataset)]):
    del values['data_dir']  # one --data_dir for a sweep of MNIST and of generated data
  try:
    config = Config.from_flags(values)
    if len(config.name.encode()) > _NAME_BYTES:
      raise UserError(f'{config.name}: a folder cannot have so long a name; fewer values may differ from the defaults.')
  except UserError as error:
    raise UserError(f'[[curve]] {curve}: {error}' if curve else str(error)) from None
  return config
