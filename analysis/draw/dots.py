# SPDX-License-Identifier: Apache-2.0
"""Draws the rounds that methods take to a target accuracy: a line of dots for each method, a panel for each point."""

import math
from collections.abc import Collection, Mapping, Sequence

import matplotlib as mpl
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arguments import plain
from analysis.draw import page, sheets
from analysis.draw.looks import STYLE
from analysis.numbers import bands
from analysis.numbers.to_target import rounds_by_seed
from analysis.read.cells import Cell
from analysis.read.comparisons import Comparison
from fedprox_tff.training.columns import TEST_ACCURACY

_WIDTH, _LINE_HEIGHT, _AROUND = 6.75, 0.15, 0.55  # inches; the last two of a row of panels
_BESIDE = 3  # so many panels at most; four are two and two
_FEW = 2  # flags that a caption names
_BEYOND = 1.25  # of the rounds: where words go, past the last round
_SEED = {'markersize': 2.6, 'alpha': 0.5, 'markeredgewidth': 0}
_MEAN = {'markersize': 4.6, 'markeredgecolor': 'white', 'markeredgewidth': 0.5}
_COLOUR, _FIRST_COLOUR, _GREY = 'C0', 'C1', '#606060'

_Rounds = Mapping[str, pd.Series]  # of a panel, by curve: the rounds to the target, by seed


def draw(comparison: Comparison) -> Figure:
  """Draws a comparison: in all panels the methods are in the same order, the fastest over all of them at the top."""
  panels = [[comparison.cells[i] for i in panel] for panel in comparison.panels()]
  rounds = [{cell.curve: _rounds_of(cell, comparison) for cell in panel} for panel in panels]
  curves = _in_order(rounds, comparison.rounds)
  wide = len(panels) if len(panels) <= _BESIDE else math.ceil(len(panels) / math.ceil(len(panels) / _BESIDE))
  high = math.ceil(len(panels) / wide)
  with mpl.style.context(STYLE):
    figure = Figure(layout='constrained', figsize=(_WIDTH, high * (_AROUND + _LINE_HEIGHT * len(curves))))
    FigureCanvasAgg(figure)
    axes = figure.subplots(high, wide, sharey=True, squeeze=False)
    for axis, panel, found in zip(axes.flat, panels, rounds, strict=False):
      axis.set_title(panel[0].panel)
      _draw_panel(axis, curves, found, comparison.rounds)
    for axis in axes.flat[max(0, len(panels) - wide) : len(panels)]:  # those with no panel below
      axis.set_xlabel(_what_counts(comparison))
    for axis in axes.flat[len(panels) :]:
      axis.set_axis_off()
    axes[0, 0].set_yticks(range(len(curves)), [plain(curve) for curve in curves])
    axes[0, 0].set_ylim(len(curves) - 0.4, -0.6)
    page.finish(figure, _caption(comparison), _handles([plain(panel[0].curve) for panel in panels]))
    return figure


def _rounds_of(cell: Cell, comparison: Comparison) -> pd.Series:
  return rounds_by_seed(cell, comparison.target, comparison.ranked_by)


def _in_order(panels: Sequence[_Rounds], horizon: int) -> list[str]:
  """Returns the curves of all panels, the fastest one first.

  In each panel, a curve's effort is put in relation to the panel's mean, so that a curve which some panels do not have
  is judged by the others.
  """
  efforts = pd.DataFrame([{curve: _effort(rounds, horizon) for curve, rounds in panel.items()} for panel in panels])
  relative = efforts.div(efforts.mean(axis=1), axis=0).mean()
  return list(relative.sort_values(kind='stable', na_position='last').index)


def _effort(rounds: pd.Series, horizon: int) -> float:
  """Returns the mean number of rounds over seeds, more than the last where not reached; NaN without seeds."""
  return rounds.fillna(2 * horizon).mean()


def _draw_panel(axis: Axes, curves: Sequence[str], rounds: _Rounds, horizon: int) -> None:
  """Draws a panel, with a line for each curve of the figure; the panel's first one has a colour of its own."""
  first = next(iter(rounds))
  for y, curve in enumerate(curves):
    if curve in rounds:
      _draw_method(axis, y, rounds[curve], horizon, _FIRST_COLOUR if curve == first else _COLOUR)
    else:
      _say(axis, y, 'not defined', horizon)
  if rounds[first].notna().any():
    axis.axvline(rounds[first].mean(), color=_FIRST_COLOUR, linestyle=':', linewidth=0.8, zorder=1)
  axis.axvline(horizon, color=_GREY, linewidth=0.4, zorder=1)  # the last round
  axis.set_xlim(0, _BEYOND * horizon)
  axis.grid(visible=True, axis='y', linewidth=0.3)
  page.tick(axis.xaxis, most=8, integer=True)


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
  _say(axis, y, words, horizon)


def _say(axis: Axes, y: int, words: str, horizon: int) -> None:
  """Says something of a method at the end of its line."""
  style = {'ha': 'right', 'va': 'center', 'fontsize': 'small', 'color': _GREY}
  axis.text(_BEYOND * horizon, y, words, **style, bbox={'facecolor': 'white', 'linewidth': 0, 'pad': 0.6})


def _caption(comparison: Comparison) -> str:
  configs = [cell.config.flat() for cell in comparison.cells if cell.runs]
  searched = {flag for choice in comparison.choices if choice for flag in choice.values}
  shared = sheets.caption_of(configs, searched)
  seeds = {len(cell.runs) for cell in comparison.cells if cell.runs}
  return f'{shared}, {bands.seeds_in_words(seeds)}, {_in_words(searched)} searched for each method and panel'


def _in_words(flags: Collection[str]) -> str:
  """Returns 'beta and learning rate' of flags; of more than a few just 'settings'."""
  words = sorted(flag.replace('_', ' ') for flag in flags)
  return ' and '.join(words) if len(words) <= _FEW else 'settings'


def _what_counts(comparison: Comparison) -> str:
  own = '' if comparison.ranked_by == TEST_ACCURACY.name else ' of own models'
  return f'# Rounds to {100 * comparison.target:g} % test accuracy{own}'


def _handles(firsts: Sequence[str]) -> list[Line2D]:
  dot = {'linestyle': '', 'marker': 'o', 'color': _COLOUR}
  return [
    Line2D([], [], **_SEED, **dot, label='a seed'),
    Line2D([], [], **_MEAN, **dot, label='mean of those that reach it'),
    Line2D([], [], color=_FIRST_COLOUR, linestyle=':', linewidth=0.8, label=' or '.join(dict.fromkeys(firsts))),
  ]
