# SPDX-License-Identifier: Apache-2.0
"""What a figure of rows and columns of panels shows, before it is drawn."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from analysis.draw import labels, looks
from analysis.numbers import bands
from analysis.read.cells import FREE, Cell
from analysis.read.figures import Figure
from analysis.read.runs import ROUND_NUM
from fedprox_tff.training.columns import COLUMNS


class Panel(NamedTuple):
  """One panel: for each curve a table with a row for each x and a column for each seed, empty if there are no runs."""

  y: str
  curves: Mapping[str, pd.DataFrame]
  limits: tuple[float, float] | None = None  # of y, if all curves end within


class Sheet(NamedTuple):
  """A figure."""

  title: str
  caption: str  # without what a band is
  x: str
  rows: Sequence[str]
  columns: Sequence[str]
  panels: Sequence[Sequence[Panel]]
  looks: Mapping[str, looks.Look]  # by curve
  share: str = 'all'  # panels with one y axis: those of a 'row', of a 'col', or 'all'

  def transposed(self) -> 'Sheet':
    """Returns the sheet with its rows as columns."""
    panels = [list(column) for column in zip(*self.panels, strict=True)]
    return self._replace(rows=self.columns, columns=self.rows, panels=panels)

  def seeds(self) -> set[int]:
    """Returns how many seeds curves have."""
    tables = [values for row in self.panels for panel in row for values in panel.curves.values()]
    return {values.shape[1] for values in tables if not values.empty}

  def full_caption(self, band: str) -> str:
    """Returns the caption with what the curves and bands are."""
    seeds = self.seeds()
    if seeds == {1}:
      return f'{self.caption}, one seed'
    return f'{self.caption}, mean and {bands.BANDS[band]} over {bands.seeds_in_words(seeds)}' if seeds else self.caption


def of_figure(figure: Figure, cells: Sequence[Cell]) -> Sheet:
  """Returns a figure from those of its cells that are to be drawn."""
  columns = list(dict.fromkeys(cell.column for cell in cells))
  curves = {cell.curve: cell.config.flat() for cell in cells}
  sheet = Sheet(
    title=figure.title,
    caption=caption_of([cell.config.flat() for cell in cells if cell.runs]),
    x=ROUND_NUM,
    rows=[row.label for row in figure.rows],
    columns=columns,
    panels=[
      [
        Panel(
          row.y,
          {cell.curve: cell.values(row.y) for cell in cells if cell.column == column and cell.row == row.label},
          figure.limits.get(column, {}).get(row.y),
        )
        for column in columns
      ]
      for row in figure.rows
    ],
    looks=dict(zip(curves, looks.choose_looks(list(curves.values())), strict=True)),
    share='col' if len({cell.config.dataset.name for cell in cells}) > 1 else 'row',
  )
  lone = len(columns) == 1 < len(figure.rows) and len({row.y for row in figure.rows}) == 1
  return sheet._replace(columns=['']).transposed() if lone else sheet  # its caption says what the column is


def caption_of(configs: Sequence[Mapping[str, Any]], hidden: Collection[str] = ()) -> str:
  """Returns what runs share, without their seeds and what else is hidden."""
  named = {str(i): config for i, config in enumerate(configs)}
  return labels.legend_and_caption(named, FREE | set(hidden))[1] if named else ''


def name_of(quantity: str) -> str:
  """Returns what an axis is called."""
  quantity = quantity.removeprefix('config/')
  return COLUMNS[quantity].label or quantity if quantity in COLUMNS else quantity
