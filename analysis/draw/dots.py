# SPDX-License-Identifier: Apache-2.0
"""Draws the rounds that methods take to a target accuracy: a line of dots for each method, a panel for each point."""

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arguments import plain
from analysis.draw import page, sheets
from analysis.draw.looks import STYLE
from analysis.numbers import bands
from analysis.numbers.ranking import rounds_by_seed
from analysis.read.comparisons import Comparison

_WIDTH, _LINE_HEIGHT, _AROUND = 6.75, 0.17, 0.75  # inches
_BEYOND = 1.25  # of the rounds: where words go, past the last round
_SEED = {'markersize': 2.6, 'alpha': 0.5, 'markeredgewidth': 0}
_MEAN = {'markersize': 4.6, 'markeredgecolor': 'white', 'markeredgewidth': 0.5}
_COLOUR, _FIRST_COLOUR, _GREY = 'C0', 'C1', '#606060'


def draw(comparison: Comparison) -> Figure:
  """Draws a comparison, the method that is fastest over all panels at the top."""
  panels = comparison.panels()
  rounds = [[rounds_by_seed(comparison.cells[i], comparison.target) for i in panel] for panel in panels]
  order = np.argsort([_effort(curve, comparison.rounds) for curve in zip(*rounds, strict=True)], kind='stable')
  names = [plain(comparison.cells[i].curve) for i in panels[0]]
  with mpl.style.context(STYLE):
    figure = Figure(layout='constrained', figsize=(_WIDTH, _AROUND + _LINE_HEIGHT * len(names)))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel, series in zip(axes, panels, rounds, strict=True):
      axis.set_title(comparison.cells[panel[0]].panel)
      axis.set_xlabel(f'# Rounds to {100 * comparison.target:g} % test accuracy')
      for y, i in enumerate(order):
        _draw_method(axis, y, series[i], comparison.rounds, _FIRST_COLOUR if i == 0 else _COLOUR)
      if series[0].notna().any():
        axis.axvline(series[0].mean(), color=_FIRST_COLOUR, linestyle=':', linewidth=0.8, zorder=1)
      axis.axvline(comparison.rounds, color=_GREY, linewidth=0.4, zorder=1)  # the last round
      axis.set_xlim(0, _BEYOND * comparison.rounds)
      axis.grid(visible=True, axis='y', linewidth=0.3)
      page.tick(axis.xaxis, most=8, integer=True)
    axes[0].set_yticks(range(len(names)), [names[i] for i in order])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    page.finish(figure, _caption(comparison), _handles(names[0]))
    return figure


def _effort(panels: tuple[pd.Series, ...], horizon: int) -> float:
  """Returns the mean number of rounds of a method over panels and seeds; more than the last where not reached."""
  seeds = pd.concat(panels).fillna(2 * horizon)
  return seeds.mean() if len(seeds) else np.inf


def _draw_method(axis: Axes, y: int, rounds: pd.Series, horizon: int, colour: str) -> None:
  """Draws a dot for each seed that reaches the target, their range and mean, and says how many do if not all do."""
  reached = rounds.dropna()
  if len(reached):
    axis.plot([reached.min(), reached.max()], [y, y], color=colour, linewidth=1, alpha=0.6, solid_capstyle='butt')
    style = {'marker': 'o', 'linestyle': '', 'color': colour, 'clip_on': False}
    axis.plot(reached, [y] * len(reached), **_SEED, **style)
    axis.plot(reached.mean(), y, zorder=3, **_MEAN, **style)
  if len(reached) == len(rounds) and len(rounds):
    return
  words = f'{len(reached)} of {len(rounds)}' if len(reached) else 'not reached' if len(rounds) else 'no data'
  style = {'ha': 'right', 'va': 'center', 'fontsize': 'small', 'color': _GREY}
  axis.text(_BEYOND * horizon, y, words, **style, bbox={'facecolor': 'white', 'linewidth': 0, 'pad': 0.6})


def _caption(comparison: Comparison) -> str:
  configs = [cell.config.flat() for cell in comparison.cells if cell.runs]
  searched = {flag for choice in comparison.choices if choice for flag in choice.values}
  shared = sheets.caption_of(configs, searched)
  seeds = {len(cell.runs) for cell in comparison.cells if cell.runs}
  return f'{shared}, {bands.seeds_in_words(seeds)}, learning rates searched for each method and panel'


def _handles(first: str) -> list[Line2D]:
  dot = {'linestyle': '', 'marker': 'o', 'color': _COLOUR}
  return [
    Line2D([], [], **_SEED, **dot, label='a seed'),
    Line2D([], [], **_MEAN, **dot, label='mean of those that reach it'),
    Line2D([], [], color=_FIRST_COLOUR, linestyle=':', linewidth=0.8, label=first),
  ]
