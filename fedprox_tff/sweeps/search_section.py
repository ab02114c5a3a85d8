# SPDX-License-Identifier: Apache-2.0
"""What a grid's file says of a search, in [search] and in the key search of a [[curve]].

    [search]
    seeds = [100, 101]          of the search's runs; no cell has them
    rounds = 50                 of the same; without it, as many as the cells'
    rounds_per_evaluation = 2   of the same; without it, those of the cells
    most = 12                   so many points a curve may try at each point of [grid]: the budget, equal for all curves
    within = 1.25               a point whose run with the first seed has a criterion of more than 1.25 times the
                                smallest so far is not run with the other seeds
    criterion = 'train/loss'    what is to be small, which is the default; or 'personal/loss', of clients' own models on
                                held-out examples of the search's own federations
    learning_rate = { start = 0.03, factor = 3.1623, low = 1e-5, high = 10.0 }

The last line is a flag with its ladder: start * factor^i, rounded to two significant digits, from low to high. Values
of a flag of whole numbers are rounded to whole ones. One or two flags can be searched for at a time.

    [[curve]]
    name = 'FedAdam'
    search = { server_learning_rate = { start = 0.1, factor = 3.1623, low = 1e-4, high = 10.0 } }

A curve's own flags take the place of those of the section.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.config.flags import FLAGS
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grid_checks, ladder
from fedprox_tff.sweeps.curve_section import Curve
from fedprox_tff.sweeps.ladder import Ladder
from fedprox_tff.training import columns

CRITERIA = (columns.TRAIN_LOSS.name, columns.PERSONAL_LOSS.name)

_OF_RUNS = ('rounds', 'rounds_per_evaluation')
_OWN = ('seeds', *_OF_RUNS, 'most', 'within', 'criterion')
_NOT_SEARCHED = ('seed', 'data_seed', *_OF_RUNS)
_LADDER = ('start', 'factor', 'low', 'high')
_EXAMPLE = 'learning_rate = { start = 0.03, factor = 3.1623, low = 1e-5, high = 10.0 }'
_MOST_FLAGS = 2
_LEAST_POINTS = 3  # a start with its neighbours on one ladder


class SearchSection(NamedTuple):
  """What a file says of one curve's search."""

  ladders: Sequence[Ladder]
  seeds: Sequence[int]
  of_runs: Mapping[str, int]  # flags of the search's runs alone
  most: int
  within: float
  criterion: str


def read(content: Mapping[str, Any], curves: Sequence[Curve]) -> list[SearchSection] | None:
  """Returns the search of each curve of a file, checked; None if the file has no [search].

  Raises:
    UserError: If anything in it is not allowed.
  """
  tables = content.get('curve') or [{}]
  if 'search' not in content:
    for curve, table in zip(curves, tables, strict=True):
      for key in ('search', 'note'):
        if key in table:
          raise UserError(f'[[curve]] {curve.name}: {key}: a section [search] is needed, which says the budget.')
    return None
  section = content['search']
  own = {key: section[key] for key in _OWN if key in section}
  of_all = _of_all(own, data_seed=content.get('base', {}).get('data_seed'))
  lasting = {key: value for key, value in section.items() if key not in own}
  shared = _ladders('[search]', lasting) if lasting else None
  found = []
  for curve, table in zip(curves, tables, strict=True):
    where = f'[[curve]] {curve.name}: search:' if 'search' in table else '[search]'
    ladders = _ladders(where, table['search']) if 'search' in table else shared or _ladders(where, {})
    _check_free(where, ladders, content, curve)
    found.append(of_all._replace(ladders=ladders))
  return found


def _of_all(own: Mapping[str, Any], *, data_seed: Any) -> SearchSection:
  """Returns what the section says for all curves."""
  seeds = own.get('seeds')
  if not isinstance(seeds, list) or not seeds or len({str(seed) for seed in seeds}) < len(seeds):
    raise UserError(
      f'[search] seeds{_got(own, "seeds")}: a list of different seeds is needed that no cell has, such as [100, 101].'
    )
  for key, values in (('seed', seeds), *((key, [own[key]]) for key in _OF_RUNS if key in own)):
    for value in values:
      grid_checks.check_value('[search]', key, value)
  most, within = own.get('most'), own.get('within')
  if isinstance(most, bool) or not isinstance(most, int) or most < _LEAST_POINTS:
    raise UserError(f'[search] most{_got(own, "most")}: a whole number of at least {_LEAST_POINTS} is needed.')
  if not _is_number(within) or within < 1:
    raise UserError(f'[search] within{_got(own, "within")}: a factor of at least 1 is needed, such as 1.25.')
  criterion = own.get('criterion', CRITERIA[0])
  if criterion not in CRITERIA:
    raise UserError(f'[search] criterion = {criterion}: one of {", ".join(CRITERIA)} is needed.')
  if criterion == columns.PERSONAL_LOSS.name and data_seed != grid_checks.AS_SEED:
    raise UserError(
      f'[search] criterion = {criterion}: it looks at held-out examples, which cells must not share: data_seed = '
      f'"{grid_checks.AS_SEED}" is needed in [base], so that the search has federations of its own.'
    )
  of_runs = {key: FLAGS[key].parse(own[key]) for key in _OF_RUNS if key in own}
  return SearchSection((), [FLAGS['seed'].parse(seed) for seed in seeds], of_runs, most, float(within), criterion)


def _ladders(where: str, tables: Any) -> list[Ladder]:
  """Returns the ladders of one or two flags, checked."""
  if not isinstance(tables, Mapping) or not 0 < len(tables) <= _MOST_FLAGS:
    got = f'not {", ".join(tables)}' if isinstance(tables, Mapping) and tables else f'such as {_EXAMPLE}'
    raise UserError(f'{where} one or two flags with ladders are needed, {got}.')
  return [_ladder(where, flag, table) for flag, table in tables.items()]


def _ladder(where: str, flag: str, table: Any) -> Ladder:
  if flag in _NOT_SEARCHED:
    raise UserError(f'{where} {flag}: it cannot be searched for; [search] has seeds, {" and ".join(_OF_RUNS)} once.')
  if flag in _OWN:
    raise UserError(f'{where} {flag}: only [search] has it, once for all curves.')
  grid_checks.check_key(where, flag)
  kind = FLAGS[flag].parameter.kind
  if kind not in (int, float):
    raise UserError(f'{where} {flag}: a flag with numbers is needed, for a search goes from small to large.')
  if not isinstance(table, Mapping) or set(table) != set(_LADDER):
    odd = [key for key in table if key not in _LADDER] if isinstance(table, Mapping) else []
    got = f'{odd[0]} is not allowed' if odd else f'such as {_EXAMPLE}'
    raise UserError(f'{where} {flag}: a ladder of {", ".join(_LADDER)} is needed; {got}.')
  for key, value in table.items():
    if not _is_number(value):
      raise UserError(f'{where} {flag}: {key} = {value}: a number is needed.')
  start, factor, low, high = (table[key] for key in _LADDER)
  if not 0 < low <= start <= high:
    raise UserError(f'{where} {flag}: start = {start}: a number above 0 from low = {low} to high = {high} is needed.')
  if factor < ladder.LEAST_FACTOR:
    raise UserError(f'{where} {flag}: factor = {factor}: a number of at least {ladder.LEAST_FACTOR} is needed.')
  if ladder.two_digits(start) != start:
    raise UserError(f'{where} {flag}: start = {start}: a number of at most two significant digits is needed.')
  for value in (start, low, high):
    grid_checks.check_value(where, flag, value)
  built = ladder.build(flag, **table, is_whole=kind is int)
  if len(built.rungs) == 1:
    raise UserError(f'{where} {flag}: only {built.rungs[0]} lies from low to high; at least two values are needed.')
  for value in built.rungs:
    grid_checks.check_value(where, flag, value)
  return built


def _check_free(where: str, ladders: Sequence[Ladder], content: Mapping[str, Any], curve: Curve) -> None:
  """Refuses a search for what the file sets."""
  for flag in (each.flag for each in ladders):
    for section in ('base', 'grid'):
      if flag in content.get(section, {}):
        raise UserError(f'{where} {flag}: [{section}] has it too; one of the two is needed.')
    if flag in curve.flags:
      raise UserError(f'[[curve]] {curve.name}: {flag}: the search has it too; one of the two is needed.')


def _is_number(value: Any) -> bool:
  return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _got(own: Mapping[str, Any], key: str) -> str:
  return f' = {own[key]}' if key in own else ''
