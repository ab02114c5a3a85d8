# SPDX-License-Identifier: Apache-2.0
"""Draws rows and columns of panels, with a mean line and a band for each curve."""

import itertools

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.draw import page, scales
from analysis.draw.looks import STYLE, Look, layer
from analysis.draw.sheets import Panel, Sheet, name_of
from analysis.numbers import bands
from analysis.read.runs import ROUND_NUM

_WIDTHS = {1: 3.4, 2: 5.1}  # inches by number of columns
_WIDTH, _ROW_HEIGHT, _SINGLE_ROW_HEIGHT = 6.75, 1.3, 1.9
_BAND_OPACITY = 0.2


def draw(sheet: Sheet, band: str) -> Figure:
  """Draws a figure; `band` is one of `bands.BANDS`."""
  with mpl.style.context(STYLE):
    rows, columns = len(sheet.rows), len(sheet.columns)
    height = rows * _ROW_HEIGHT if rows > 1 else _SINGLE_ROW_HEIGHT
    figure = Figure(layout='constrained', figsize=(_WIDTHS.get(columns, _WIDTH), height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex='col', sharey=sheet.share, squeeze=False)
    marked = False
    for group in _groups(sheet):
      summaries = {(i, j): _summarise(sheet.panels[i][j], band) for i, j in group}
      scale = scales.choose([sheet.panels[i][j] for i, j in group], list(summaries.values()))
      for (i, j), curves in summaries.items():
        _draw_panel(axes[i, j], sheet, sheet.panels[i][j], curves, scale.diverged)
        marked |= scales.apply(axes[i, j], scale, curves, sheet.looks)
    _label(axes, sheet)
    handles = [_handle(label, look) for label, look in sheet.looks.items()]
    if marked:
      handles.append(Line2D([], [], linestyle='', marker='^', color='#606060', label='beyond the axis'))
    page.finish(figure, sheet.full_caption(band), handles)
    return figure


def _groups(sheet: Sheet) -> list[list[tuple[int, int]]]:
  """Returns the panels that share their y axis."""
  rows, columns = range(len(sheet.rows)), range(len(sheet.columns))
  by_row, by_column = [[(i, j) for j in columns] for i in rows], [[(i, j) for i in rows] for j in columns]
  return {'row': by_row, 'col': by_column, 'all': [list(itertools.chain(*by_row))]}[sheet.share]


def _summarise(panel: Panel, band: str) -> dict[str, pd.DataFrame]:
  return {label: bands.summarise(values, band) for label, values in panel.curves.items() if not values.empty}


def _draw_panel(axes: Axes, sheet: Sheet, panel: Panel, curves: dict[str, pd.DataFrame], diverged: float) -> None:
  """Joins the means that are finite; a line has a gap elsewhere, and a single point is a dot."""
  for label, curve in curves.items():
    look, finite = sheet.looks[label], np.isfinite(curve['mean'])
    x, few = curve.index.to_numpy(), len(curve) <= 20
    axes.plot(
      x,
      curve['mean'].where(finite),
      linestyle=look.style,
      color=look.colour,
      marker=look.marker or ('o' if len(curve) == 1 or (few and sheet.x != ROUND_NUM) else ''),
      markevery=None if few else len(curve) // 10,
      zorder=layer(look),
    )
    shown = finite & (curve['mean'].abs() <= diverged)
    low, high = curve['low'].where(shown).to_numpy(), curve['high'].where(shown).to_numpy()
    axes.fill_between(x, low, high, color=look.colour, alpha=_BAND_OPACITY, linewidth=0, zorder=1.5)
  missing = [label for label in panel.curves if label not in curves]
  if missing:
    words = f'no data: {"; ".join(missing)}' if curves else 'no data'
    axes.text(
      0.97 if curves else 0.5,
      0.94 if curves else 0.5,
      page.wrap(words.replace('; ', ', '), 34),
      transform=axes.transAxes,
      ha='right' if curves else 'center',
      va='top' if curves else 'center',
      fontsize='small' if curves else 'medium',
      color='#606060',
      bbox={'facecolor': 'white', 'alpha': 0.8, 'linewidth': 0, 'pad': 1},
      zorder=4,
    )


def _label(axes: np.ndarray, sheet: Sheet) -> None:
  for axis, label in zip(axes[0], sheet.columns, strict=True):
    axis.set_title(label)
  for axis in axes[-1]:
    axis.set_xlabel(name_of(sheet.x))
  for row, label, panels in zip(axes, sheet.rows, sheet.panels, strict=True):
    row[0].set_ylabel(name_of(panels[0].y), linespacing=1.0)
    if label:
      row[-1].annotate(label, (1.03, 0.5), xycoords='axes fraction', rotation=270, ha='left', va='center', fontsize=9)
  for j, column in enumerate(axes.T):
    ends = [curve.index.max() for row in sheet.panels for curve in row[j].curves.values() if not curve.empty]
    starts = [curve.index.min() for row in sheet.panels for curve in row[j].curves.values() if not curve.empty]
    for axis in column:
      if axis.get_xscale() == 'linear':
        page.tick(axis.xaxis, most=6 if len(axes.T) < 4 else 4, integer=sheet.x == ROUND_NUM)
      if ends and max(ends) > min(starts):
        margin = 0 if sheet.x == ROUND_NUM else 0.03 * (max(ends) - min(starts))  # for the markers
        axis.set_xlim(min(starts) - margin, max(ends) + margin)
  axes[0, 0].figure.align_ylabels()


def _handle(label: str, look: Look) -> Line2D:
  return Line2D([], [], linestyle=look.style, color=look.colour, marker=look.marker, label=label)
