# SPDX-License-Identifier: Apache-2.0
"""What is allowed in a grid's file. Each `check` raises a `UserError` that names section, key and what is allowed."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.config.flags import FLAGS
from fedprox_tff.core.errors import UserError

NOT_OF_A_CELL = {
  'name': 'a cell is named after what differs from the defaults',
  'results_dir': 'the command line of the sweep says it',
  'fallback_dataset': 'a sweep trains on the data that it names, or not at all',
}
_NOT_FLAGS = {'curve': ('name', 'search'), 'panel': ('name', 'limits')}  # keys of [[curve]] and [[panel]]
_KEYS = tuple(name for name in FLAGS if name not in NOT_OF_A_CELL)
_OF_A_SEARCH = ('seed', 'rounds')
_SECTIONS = {
  **{'title': str, 'base': dict, 'grid': dict, 'search': dict, 'target': dict},
  **{'panel': list, 'curve': list, 'figure': dict},
}


class Search(NamedTuple):
  """What [search] and a [[curve]] say of a search."""

  flag: str
  values: Sequence[Any]
  fixed: Mapping[str, int]  # seed and rounds of the runs


def check_sections(content: Mapping[str, Any]) -> None:
  """Checks all of a file but its curves and its search."""
  for section, value in content.items():
    if section not in _SECTIONS:
      raise UserError(
        f'{section}: a grid has only title, [base], [grid], [search], [target], [[panel]], [[curve]] and [figure].'
      )
    if not isinstance(value, _SECTIONS[section]):
      needed = {str: 'text', list: f'[[{section}]], a list of tables,', dict: f'a table, [{section}],'}
      raise UserError(f'{section}: {needed[_SECTIONS[section]]} is needed.')
  for key, value in content.get('base', {}).items():
    check_value('[base]', key, value)
  for key, values in content.get('grid', {}).items():
    check_list('[grid]', key, values)
    if key in content.get('base', {}):
      raise UserError(f'[grid] {key}: [base] has it too; one of the two is needed.')
  for key, value in content.get('target', {}).items():
    if key != 'accuracy':
      raise UserError(f'[target] {key}: only accuracy is allowed.')
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
      raise UserError(f'[target] accuracy = {value}: a share above 0, at most 1, is needed.')


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


def searches(content: Mapping[str, Any], curves: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Search] | None:
  """Returns the search of each curve of a file; None if it has no [search].

  A curve's own takes the place of the section's.
  """
  tables = content.get('curve') or [{}]
  if 'search' not in content:
    for (name, _), table in zip(curves, tables, strict=True):
      if 'search' in table:
        raise UserError(f'[[curve]] {name}: search: a section [search] with the seed of the search is needed.')
    return None
  section = content['search']
  fixed = {key: section[key] for key in _OF_A_SEARCH if key in section}
  for key, value in fixed.items():
    check_value('[search]', key, value)
    fixed[key] = FLAGS[key].parse(value)
  if 'seed' not in fixed:
    raise UserError('[search]: a seed is needed that no cell has, such as seed = 100.')
  lists = {key: values for key, values in section.items() if key not in fixed}
  found = []
  for (name, flags), table in zip(curves, tables, strict=True):
    where, own = ('[search]', lists) if 'search' not in table else (f'[[curve]] {name}: search:', table['search'])
    flag, values = _candidates(where, own)
    for section_name, keys in (('[base]', content.get('base', {})), ('[grid]', content.get('grid', {}))):
      if flag in keys:
        raise UserError(f'{where} {flag}: {section_name} has it too; one of the two is needed.')
    if flag in flags:
      raise UserError(f'[[curve]] {name}: {flag}: the search has it too; one of the two is needed.')
    found.append(Search(flag, values, fixed))
    if len(values) != len(found[0].values):
      raise UserError(
        f'{where} {flag}: {len(values)} values, but {curves[0][0]} tries {len(found[0].values)}: the budget is the '
        'same for all curves.'
      )
  return found


def check_list(where: str, key: str, values: Any) -> None:
  """Checks a flag with a list of values."""
  if not isinstance(values, list) or not values:
    raise UserError(f'{where} {key}: a list of values is needed, such as [0.0, 1.0].')
  for value in values:
    check_value(where, key, value)


def check_value(where: str, key: str, value: Any) -> None:
  """Checks a flag with one value."""
  if key in NOT_OF_A_CELL:
    raise UserError(f'{where} {key}: not in a grid: {NOT_OF_A_CELL[key]}.')
  if key not in FLAGS:
    close = difflib.get_close_matches(key, _KEYS, n=1)
    allowed = f'did you mean {close[0]}?' if close else f'allowed are {", ".join(_KEYS)}.'
    raise UserError(f'{where} {key}: no flag of fedprox_tff.run; {allowed}')
  if not isinstance(value, str | int | float):
    raise UserError(f'{where} {key}: one number, text or true or false is needed, not {value}.')
  try:
    FLAGS[key].parse(value)
  except UserError as error:
    raise UserError(f'{where} {error}') from None


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


def _candidates(where: str, lists: Any) -> tuple[str, list[Any]]:
  """Returns a search's flag and its values, checked."""
  if not isinstance(lists, dict) or len(lists) != 1:
    got = f'not {", ".join(lists)}' if isinstance(lists, dict) and lists else 'such as learning_rate = [0.01, 0.1]'
    raise UserError(f'{where} one flag with a list of values is needed, {got}.')
  ((flag, values),) = lists.items()
  if flag in _OF_A_SEARCH:
    raise UserError(f'{where} {flag}: it cannot be searched for; [search] has it once, for all curves.')
  check_list(where, flag, values)
  if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
    raise UserError(f'{where} {flag}: numbers are needed, for a search ranks its values by size.')
  if len(set(values)) < max(2, len(values)):
    raise UserError(f'{where} {flag}: at least two values are needed, all of them different.')
  return flag, values
