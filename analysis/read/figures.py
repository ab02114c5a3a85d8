# SPDX-License-Identifier: Apache-2.0
"""What a grid's figure shows: `fedprox_tff.sweeps.figure_section` says what a file can say of it."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from analysis.draw import labels
from analysis.read.cells import FREE, Cell
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grids
from fedprox_tff.sweeps.figure_section import FigureSection, Limits
from fedprox_tff.sweeps.grids import Grid
from fedprox_tff.training.columns import PERSONAL_ACCURACY, TEST_ACCURACY

_FEW = 6  # panels beside each other


class Row(NamedTuple):
  """A row of panels."""

  y: str  # the column of metrics.csv
  label: str = ''


class Figure(NamedTuple):
  """A figure of rows and columns of panels.

  Attributes:
    title: What its files are titled.
    rows: From top to bottom.
    columns: What each column shows.
    cells: One for each curve in each panel, without runs; rows that differ in their quantity alone share theirs.
    limits: Axes to keep to, by column.
    baseline: The curve that tables compare the others with.
    papers_gain_at: The share of stragglers at which tables show the paper's rule for its gain; None: they do not.
  """

  title: str
  rows: Sequence[Row]
  columns: Sequence[str]
  cells: Sequence[Cell]
  limits: Mapping[str, Limits] = {}
  baseline: str = ''
  papers_gain_at: float | None = None

  @property
  def score(self) -> str:
    """The accuracy that its tables are about: that of clients' own models where it draws those first."""
    first = self.rows[0].y if self.rows else ''
    return first if first == PERSONAL_ACCURACY.name else TEST_ACCURACY.name


def read(path: pathlib.Path) -> Figure:
  """Returns the figure of the grid in a file.

  Raises:
    UserError: If anything in it is not allowed.
  """
  grid = grids.read(path)
  try:
    return of_grid(grid, path)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None


def of_grid(grid: Grid, path: pathlib.Path) -> Figure:
  """Returns the figure of a grid.

  Args:
    grid: The grid.
    path: Its file.

  Raises:
    UserError: If runs of one curve would differ in more than their seeds.
  """
  section = grid.figure or FigureSection()
  columns, told = _columns_and_curves(grid, section)
  names = list(dict.fromkeys(cell.panel for cell in grid.cells))
  shown = list(section.panels) or names
  several = len(shown) > 1 or not columns
  cells: dict[tuple[str, str, str], Cell] = {}
  limits = {}
  for panel in shown:
    for each in [cell for cell in grid.cells if cell.panel == panel]:
      flat = each.config.flat()
      row = _heading(flat, [section.rows] if section.rows else [])
      column = ', '.join(filter(None, [labels.typeset(panel) if several else '', _heading(flat, columns)]))
      curve, partner = (_curve(name, flat, told) for name in (each.curve, each.partner))
      curve = curve or labels.method_of(flat)
      made_by = each.grid if path.parent == grids.FOLDER or section.grids else str(path)
      made = Cell(row, column, curve, each.config, made_by, partner=partner if each.partner else '')
      cell = cells.setdefault((row, column, curve), made)
      _check_same(cell, flat)
      limits[column] = grid.limits.get(panel, {})
  row_labels, column_labels, curve_labels = (list(dict.fromkeys(key)) for key in zip(*cells, strict=True))
  order = [column_labels, row_labels, curve_labels]
  ordered = sorted(
    cells.values(),
    key=lambda cell: [o.index(v) for o, v in zip(order, (cell.column, cell.row, cell.curve), strict=True)],
  )
  return Figure(
    title=section.title or grid.title or grid.name,
    rows=[Row(y, label) for label in row_labels for y in section.y],
    columns=column_labels,
    cells=ordered,
    limits=limits,
    baseline=labels.typeset(section.baseline) or curve_labels[0],
    papers_gain_at=section.papers_gain_at,
  )


def _columns_and_curves(grid: Grid, section: FigureSection) -> tuple[list[str], list[str]]:
  """Returns the flags with lists in [grid] whose values have columns, and those whose values tell curves apart."""
  free = [key for key in grid.lists if key not in (section.rows, section.columns)]
  if section.columns:
    return [section.columns], free
  has_curves = any(cell.curve for cell in grid.cells)
  points = {str([cell.config.flat().get(key) for key in free]) for cell in grid.cells}
  panels = {cell.panel for cell in grid.cells}
  return (free, []) if has_curves and len(points) * len(panels) <= _FEW else ([], free)


def _curve(name: str, flat: Mapping[str, object], told: Sequence[str]) -> str:
  """Returns what a curve is called: its name in the grid, and the settings that tell it apart."""
  return ', '.join(filter(None, [labels.typeset(name), labels.say_all(flat, told)]))


def _heading(flat: Mapping[str, object], keys: Sequence[str]) -> str:
  words = labels.say_all(flat, keys)
  return words[:1].upper() + words[1:]


def _check_same(cell: Cell, flat: Mapping[str, object]) -> None:
  first = cell.config.flat()
  free = FREE
  if all(each.get('data_seed') == each['seed'] for each in (first, flat)):  # each seed has a federation of its own
    free = FREE | {'data_seed'}
  differing = [key for key in {**first, **flat} if key not in free and first.get(key) != flat.get(key)]
  if differing:
    raise UserError(
      f'[figure]: runs of {cell} differ in {", ".join(differing)}; a panel, curve, row or column for each is needed.'
    )
