# SPDX-License-Identifier: Apache-2.0
"""What a grid's file says of its curves, in [[curve]].

name = 'FedAdam'
algorithm = 'fedadam'                 flags of its cells
only = { weighting = ['uniform'] }    the curve exists at those points of [grid] alone
partner = 'FedAvg, E = 1'             the curve that tables compare it with
note = 'It is defined up to 1.'       tables show it where the value that a search chose lies at an end
search = { ... }                      see `search_section`
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.config.flags import FLAGS
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grid_checks


class Curve(NamedTuple):
  """One curve of a grid."""

  name: str  # empty in a grid without curves
  flags: Mapping[str, Any]
  only: Mapping[str, Sequence[Any]] = {}  # the values of lists of [grid] at which it exists
  partner: str = ''  # the name of the curve that it is compared with
  note: str = ''

  def exists_at(self, point: Mapping[str, Any]) -> bool:
    """Returns whether it exists at a point of [grid]."""
    return all(_parse(key, point[key]) in values for key, values in self.only.items())


def read(content: Mapping[str, Any]) -> list[Curve]:
  """Returns the curves of a file, checked; a nameless one if there is none.

  Raises:
    UserError: If anything in them is not allowed.
  """
  named = grid_checks.alternatives(content, 'curve')
  tables = content.get('curve') or [{}]
  curves = []
  for (name, flags), table in zip(named, tables, strict=True):
    where = f'[[curve]] {name}:'
    partner, note = table.get('partner', ''), table.get('note', '')
    if 'partner' in table and partner not in [other for other, _ in named if other != name]:
      others = ', '.join(other for other, _ in named if other != name) or 'none'
      raise UserError(f'{where} partner = {partner}: the name of another curve is needed; there are {others}.')
    if 'note' in table and (not isinstance(note, str) or not note or len(note.splitlines()) > 1):
      raise UserError(f'{where} note: one line of text is needed, not {note!r}.')
    curves.append(Curve(name, flags, _only(where, table, content.get('grid', {})), partner, note))
  return curves


def check_partners(curves: Sequence[Curve], points: Iterable[Mapping[str, Any]]) -> None:
  """Checks that a curve's partner exists wherever it does itself.

  Raises:
    UserError: If not.
  """
  by_name = {curve.name: curve for curve in curves}
  for point in points:
    for curve in curves:
      if curve.partner and curve.exists_at(point) and not by_name[curve.partner].exists_at(point):
        here = ', '.join(f'{key} = {value}' for key, value in point.items())
        raise UserError(
          f'[[curve]] {curve.name}: partner = {curve.partner}: it does not exist at {here}; one that does is needed.'
        )


def _only(where: str, table: Mapping[str, Any], lists: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
  """Returns the values at which a curve exists, parsed."""
  only = table.get('only', {})
  if not isinstance(only, Mapping) or ('only' in table and not only):
    raise UserError(f'{where} only: a table of lists is needed, such as {{ weighting = ["uniform"] }}.')
  for key, values in only.items():
    if key not in lists or key == 'seed':
      allowed = ', '.join(name for name in lists if name != 'seed') or 'none'
      raise UserError(
        f'{where} only: {key}: a flag with a list in [grid], but for seed, is needed; there are {allowed}.'
      )
    grid_checks.check_list(f'{where} only:', key, values)
    for value in values:
      if _parse(key, value) not in [_parse(key, each) for each in lists[key]]:
        raise UserError(f'{where} only: {key} = {value}: [grid] has {", ".join(map(str, lists[key]))}.')
  return {key: [_parse(key, value) for value in values] for key, values in only.items()}


def _parse(key: str, value: Any) -> Any:
  return FLAGS[key].parse(value)
