# SPDX-License-Identifier: Apache-2.0
"""What is allowed in a grid's file. Each `check` raises a `UserError` that names section, key and what is allowed."""

import difflib
from collections.abc import Mapping
from typing import Any

from fedprox_tff.config.flags import FLAGS
from fedprox_tff.core.errors import UserError
from fedprox_tff.training import columns

NOT_OF_A_CELL = {
  'name': 'a cell is named after what differs from the defaults',
  'results_dir': 'the command line of the sweep says it',
  'fallback_dataset': 'a sweep trains on the data that it names, or not at all',
}
AS_SEED = 'seed'  # [base] data_seed = "seed": the federation of each run is drawn by its own seed

_NOT_FLAGS = {  # keys of [[curve]] and [[panel]]
  'curve': ('name', 'search', 'only', 'partner', 'note'),
  'panel': ('name', 'limits'),
}
_KEYS = tuple(name for name in FLAGS if name not in NOT_OF_A_CELL)
_RANKED_BY = (columns.TEST_ACCURACY.name, columns.PERSONAL_ACCURACY.name)
_SECTIONS = {
  **{'title': str, 'base': dict, 'grid': dict, 'search': dict, 'target': dict},
  **{'panel': list, 'curve': list, 'figure': dict},
}


def check_sections(content: Mapping[str, Any]) -> None:
  """Checks all of a file but its curves, its search and its figure."""
  for section, value in content.items():
    if section not in _SECTIONS:
      raise UserError(
        f'{section}: a grid has only title, [base], [grid], [search], [target], [[panel]], [[curve]] and [figure].'
      )
    if not isinstance(value, _SECTIONS[section]):
      needed = {str: 'text', list: f'[[{section}]], a list of tables,', dict: f'a table, [{section}],'}
      raise UserError(f'{section}: {needed[_SECTIONS[section]]} is needed.')
  for key, value in content.get('base', {}).items():
    if (key, value) != ('data_seed', AS_SEED):
      check_value('[base]', key, value)
  for key, values in content.get('grid', {}).items():
    check_list('[grid]', key, values)
    if key in content.get('base', {}):
      raise UserError(f'[grid] {key}: [base] has it too; one of the two is needed.')
  if 'target' in content:
    _check_target(content['target'])


def alternatives(content: Mapping[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
  """Returns the names and flags of all [[curve]] or [[panel]] of a file, checked; a nameless one if there is none.

  A flag of a curve may have a table in the place of a value: a value for each panel, by its name.
  """
  found = [_alternative(table, i, kind) for i, table in enumerate(content.get(kind, []), start=1)]
  names = [name for name, _ in found]
  for name, flags in found:
    if names.count(name) > 1:
      raise UserError(f'[[{kind}]] {name}: two {kind}s have this name.')
    for key in flags.keys() & content.get('grid', {}).keys():
      raise UserError(f'[[{kind}]] {name}: {key}: [grid] has it too; one of the two is needed.')
  return found or [('', {})]


def check_panels(content: Mapping[str, Any], panels: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
  """Checks that panels and curves, flags by their names, go together."""
  if 'panel' in content and 'search' in content:
    raise UserError('[[panel]]: a grid with [search] has a panel for each point of [grid] instead.')
  for name, flags in curves.items():
    for panel, others in panels.items():
      for key in flags.keys() & others.keys():
        raise UserError(f'[[curve]] {name}: {key}: [[panel]] {panel} has it too; one of the two is needed.')
    for key, values in flags.items():
      if isinstance(values, dict) and values.keys() != panels.keys():
        there = ', '.join(filter(None, panels)) or 'none'
        raise UserError(f'[[curve]] {name}: {key}: a value for each panel is needed, by its name; there are {there}.')


def check_list(where: str, key: str, values: Any) -> None:
  """Checks a flag with a list of values."""
  if not isinstance(values, list) or not values:
    raise UserError(f'{where} {key}: a list of values is needed, such as [0.0, 1.0].')
  for value in values:
    check_value(where, key, value)


def check_value(where: str, key: str, value: Any) -> None:
  """Checks a flag with one value."""
  check_key(where, key)
  if not isinstance(value, str | int | float):
    raise UserError(f'{where} {key}: one number, text or true or false is needed, not {value}.')
  try:
    FLAGS[key].parse(value)
  except UserError as error:
    raise UserError(f'{where} {error}') from None


def check_key(where: str, key: str) -> None:
  """Checks that there is such a flag, and that a grid may set it."""
  if key in NOT_OF_A_CELL:
    raise UserError(f'{where} {key}: not in a grid: {NOT_OF_A_CELL[key]}.')
  if key not in FLAGS:
    close = difflib.get_close_matches(key, _KEYS, n=1)
    allowed = f'did you mean {close[0]}?' if close else f'allowed are {", ".join(_KEYS)}.'
    raise UserError(f'{where} {key}: no flag of fedprox_tff.run; {allowed}')


def _check_target(section: Mapping[str, Any]) -> None:
  for key, value in section.items():
    if key not in ('accuracy', 'ranked_by'):
      raise UserError(f'[target] {key}: only accuracy and ranked_by are allowed.')
    if key == 'ranked_by' and value not in _RANKED_BY:
      raise UserError(f'[target] ranked_by = {value}: {" or ".join(_RANKED_BY)} is needed.')
    share = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
    if key == 'accuracy' and not share:
      raise UserError(f'[target] accuracy = {value}: a share above 0, at most 1, is needed.')
  if 'accuracy' not in section:
    raise UserError('[target]: an accuracy is needed, such as accuracy = 0.8.')


def _alternative(table: Any, number: int, kind: str) -> tuple[str, dict[str, Any]]:
  """Returns the name of a curve or panel and its flags, checked."""
  if not isinstance(table, dict) or not isinstance(table.get('name'), str) or not table['name']:
    example = {'curve': 'FedAvg', 'panel': 'MNIST'}[kind]
    raise UserError(f'[[{kind}]] number {number}: a table with a name is needed, such as name = "{example}".')
  flags = {key: value for key, value in table.items() if key not in _NOT_FLAGS[kind]}
  for key, value in flags.items():
    by_panel = value.values() if kind == 'curve' and isinstance(value, dict) else [value]
    for each in by_panel:
      check_value(f'[[{kind}]] {table["name"]}:', key, each)
  return table['name'], flags
