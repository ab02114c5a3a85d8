# SPDX-License-Identifier: Apache-2.0
"""What a grid's file says of its figure, in [[panel]] and [figure].

    [[panel]]          alternatives beside [[curve]], such as data sets: each is a panel, with all curves in it
    name = 'MNIST'     the heading
    dataset = 'mnist'  flags of its cells, as in [[curve]]
    limits = { 'train/loss' = [0.2, 1.5] }   an axis to keep to, if all curves end within; such as a paper's

    [figure]
    title = 'Training loss'          what the files of the figure are titled; without it, the title of the grid
    y = ['train/loss']               columns of metrics.csv to draw against rounds; without it, test accuracy and
                                     training loss
    rows = 'stragglers'              a flag with a list in [grid]: a row of panels for each value
    columns = 'epochs'               the same for columns; lists that are neither tell curves apart
    baseline = 'FedAvg'              the curve that tables compare the others with; without it, the first
    papers_gain_at = 0.9             tables show the paper's rule for its gain of 22 %, at this share of stragglers
    grids = ['one', 'two']           draws the cells of these grids, side by side; then the file has none of its own
    panels = ['MNIST']               which panels, in which order; without it, all

A file that says nothing of a figure can be drawn as well: a row for each quantity, a column for each point of [grid]
if they are few, and a curve for each [[curve]]. The word mu in a name is drawn as the Greek letter.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.core.errors import UserError
from fedprox_tff.training import columns
from fedprox_tff.training.columns import COLUMNS

Limits = Mapping[str, tuple[float, float]]  # by quantity

_OF_ITS_OWN = ('base', 'grid', 'search', 'target', 'curve', 'panel')


class FigureSection(NamedTuple):
  """What [figure] says."""

  title: str = ''
  y: Sequence[str] = (columns.TEST_ACCURACY.name, columns.TRAIN_LOSS.name)
  rows: str = ''
  columns: str = ''
  baseline: str = ''
  papers_gain_at: float | None = None
  grids: Sequence[str] = ()
  panels: Sequence[str] = ()


_TEXTS = ('title', 'rows', 'columns', 'baseline')
_LISTS = ('y', 'grids', 'panels')


def read(content: Mapping[str, Any]) -> FigureSection | None:
  """Returns what a file says of its figure, checked as far as it can be without its cells; None if it says nothing.

  Raises:
    UserError: If anything in it is not allowed.
  """
  if 'figure' not in content:
    return None
  section = content['figure']
  for key, value in section.items():
    if key not in FigureSection._fields:
      raise UserError(f'[figure] {key}: allowed are {", ".join(FigureSection._fields)}.')
    if key in _TEXTS and not isinstance(value, str):
      raise UserError(f'[figure] {key}: text is needed, not {value}.')
    if key in _LISTS and not _is_list_of_texts(value):
      raise UserError(f"[figure] {key}: a list of texts is needed, such as ['train/loss'].")
  for quantity in section.get('y', []):
    _check_quantity('[figure] y', quantity)
  share = section.get('papers_gain_at', 1)
  if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
    raise UserError(f'[figure] papers_gain_at = {share}: a share from 0 to 1 is needed.')
  if 'search' in content:
    raise UserError('[figure]: a grid with [search] is a comparison of methods, which has a figure of its own.')
  own = [name for name in _OF_ITS_OWN if name in content]
  if 'grids' in section and own:
    raise UserError(f'[figure] grids: the cells are those of other grids, so that [{own[0]}] has no use here.')
  return FigureSection(**section)


def limits_of(table: Mapping[str, Any]) -> Limits:
  """Returns the axes that a [[panel]] keeps to.

  Raises:
    UserError: If they are none.
  """
  where, limits = f'[[panel]] {table["name"]}: limits', table.get('limits', {})
  if not isinstance(limits, dict):
    raise UserError(f"{where}: a table is needed, such as {{ 'train/loss' = [0.2, 1.5] }}.")
  for quantity, ends in limits.items():
    _check_quantity(where, quantity)
    numbers = isinstance(ends, list) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)
    numbers = numbers and all(map(math.isfinite, ends))
    if not numbers or not ends[0] < ends[1]:
      raise UserError(f'{where}: {quantity}: two rising numbers are needed, such as [0.2, 1.5].')
  return {quantity: tuple(ends) for quantity, ends in limits.items()}


def check_names(section: FigureSection, *, lists: Sequence[str], panels: Sequence[str], curves: Sequence[str]) -> None:
  """Checks what [figure] names.

  Args:
    section: What it says.
    lists: The flags that have lists in [grid].
    panels: The panel of each cell.
    curves: The curve of each cell.

  Raises:
    UserError: If there is no such flag, panel or curve.
  """
  named = [
    *(('rows', section.rows, lists), ('columns', section.columns, lists), ('baseline', section.baseline, curves)),
    *(('panels', name, panels) for name in section.panels),
  ]
  for key, name, known in named:
    if name and name not in known:
      there = ', '.join(dict.fromkeys(filter(None, known))) or 'none'
      raise UserError(f'[figure] {key}: {name}: there is none of this name; there are {there}.')
  if section.rows and section.rows == section.columns:
    raise UserError(f'[figure] columns: {section.columns} has the rows; one of the two is needed.')


def _check_quantity(where: str, name: str) -> None:
  if name not in COLUMNS:
    raise UserError(f'{where}: {name} is no column of metrics.csv; there are {", ".join(COLUMNS)}.')


def _is_list_of_texts(value: Any) -> bool:
  return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
