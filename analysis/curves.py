# SPDX-License-Identifier: Apache-2.0
"""Draws runs as a paper prints them: training loss on the left, test accuracy on the right, against rounds."""

import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator

from analysis import labels, load
from fedprox_tff.errors import UserError

_STYLE = ['default', pathlib.Path(__file__).parent / 'paper.mplstyle']  # no settings of the user's
_MARKERS = ('', 'o', 's', '^', 'v', 'D', 'P', 'X')
_LINE_STYLES = ('-', ':', '--')  # the paper's for FedProx, FedAvg, FedProx with mu = 0; the first colours are theirs
_TOP_LAST = ('-', '--', ':')  # where curves coincide, the lower ones show in the gaps of the upper
_CAPTION_WIDTH, _ENTRY_WIDTH = 125, 110  # characters


class Look(NamedTuple):
  """What a curve looks like."""

  style: str
  colour: str
  marker: str


def draw(frame: pd.DataFrame) -> Figure:
  """Draws all runs of a table from `load.load_runs`, with a legend of what sets them apart.

  Raises:
    UserError: If there are more runs than curves that can be told apart.
  """
  with mpl.style.context(_STYLE):
    configs = load.configs(frame)
    entries, caption = labels.legend_and_caption(configs)
    figure = Figure(layout='constrained')
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    looks = choose_looks(list(configs.values()))
    for run, entry, look in zip(configs, entries, looks, strict=True):
      rows = load.evaluated(frame[frame['run'] == run]).set_index('round_num')
      _draw_curve(loss, rows['train/loss'], look, _wrap(entry, _ENTRY_WIDTH))
      _draw_curve(accuracy, rows['test/accuracy'], look, _wrap(entry, _ENTRY_WIDTH))
    loss.set_ylabel('Training loss')
    accuracy.set_ylabel('Test accuracy (%)')
    accuracy.yaxis.set_major_formatter(lambda share, _: f'{100 * share:.4g}')
    for panel in (loss, accuracy):
      panel.set_xlabel('# Rounds')
      panel.set_xlim(0, max(load.evaluated(frame)['round_num'].max(), 1))
      panel.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
      panel.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    marks = _scale_losses(loss, frame, looks)
    title = figure.suptitle(_wrap(caption, _CAPTION_WIDTH))
    legend = _place_legend(figure, [*loss.lines, *marks[:1]])
    width, height = figure.get_size_inches()
    around = title.get_window_extent().height + legend.get_window_extent().height
    figure.set_size_inches(width, height + around / figure.dpi)
    return figure


def choose_looks(configs: Sequence[Mapping[str, Any]]) -> list[Look]:
  """Gives each run a look that no other has: the paper's line style for its method, and a colour of its own.

  Markers set runs apart when there are no colours left. The methods' own colours go to the first run of each.
  """
  with mpl.style.context(_STYLE):
    colours = mpl.rcParams['axes.prop_cycle'].by_key()['color']
  free = [(colour, marker) for marker in _MARKERS for colour in colours]
  if len(configs) > len(free):
    raise UserError(f'{len(configs)} runs: at most {len(free)} curves can be told apart in one figure.')
  styles = [_line_style(config) for config in configs]
  chosen = {}
  for style in dict.fromkeys(styles):
    chosen[styles.index(style)] = colours[_LINE_STYLES.index(style)], ''
    free.remove(chosen[styles.index(style)])
  return [Look(style, *(chosen.get(i) or free.pop(0))) for i, style in enumerate(styles)]


def loss_limit(frame: pd.DataFrame) -> float:
  """Returns the training loss beyond which a run has diverged: twice the largest that a run started with."""
  starts = load.evaluated(frame).groupby('run')['train/loss'].first()
  return 2 * starts[np.isfinite(starts)].max()


def diverged(frame: pd.DataFrame) -> pd.DataFrame:
  """Returns the evaluated rows whose training loss is beyond `loss_limit`, or not a number."""
  rows = load.evaluated(frame)
  return rows[~(rows['train/loss'].abs() <= loss_limit(frame))]


def mostly_diverged(frame: pd.DataFrame) -> bool:
  """Returns whether most of what there is to draw has diverged, so that only a logarithmic axis can show it."""
  return 2 * len(diverged(frame)) > len(load.evaluated(frame))


def render(figure: Figure, suffix: str) -> bytes:
  """Returns the figure as a '.png' or '.pdf' file; the same figure gives the same bytes.

  The PDF has its fonts in it, as TrueType.
  """
  caption = figure.get_suptitle().replace('\n', ' ').replace('$', '').replace('\\', '')
  metadata = {'Title': f'Training loss and test accuracy: {caption}'}
  metadata |= {'Software': 'analysis/plot.py'} if suffix == '.png' else {'CreationDate': None}
  buffer = io.BytesIO()
  with mpl.style.context(_STYLE):
    figure.savefig(buffer, format=suffix.removeprefix('.'), metadata=metadata)
  return buffer.getvalue()


def _line_style(config: Mapping[str, Any]) -> str:
  if config['algorithm'] == 'fedavg':
    return ':'
  return '--' if config['algorithm'] == 'fedprox' and config.get('mu') == 0 else '-'


def _draw_curve(panel: Axes, values: pd.Series, look: Look, entry: str) -> None:
  """Joins the evaluated rounds; a line has a gap where a value is not finite, and a single point is a dot."""
  many = len(values) > 20
  panel.plot(
    values.where(np.isfinite(values)),
    linestyle=look.style,
    color=look.colour,
    marker=look.marker or ('o' if len(values) == 1 else ''),
    markevery=(len(panel.lines) % 5, len(values) // 10) if look.marker and many else None,
    label=entry,
    zorder=2 + 0.1 * _TOP_LAST.index(look.style),
  )


def _scale_losses(panel: Axes, frame: pd.DataFrame, looks: Sequence[Look]) -> list[PathCollection]:
  """Keeps diverged losses from flattening the others; returns marks on the edge, one for each run that passes it."""
  beyond = diverged(frame)
  losses = load.evaluated(frame)['train/loss']
  if mostly_diverged(frame):
    panel.set_yscale('log' if (np.isfinite(losses) & (losses > 0)).any() else 'linear')
    beyond = beyond[~np.isfinite(beyond['train/loss'])]
  elif len(beyond):
    kept = losses.drop(beyond.index)
    margin = 0.05 * (kept.max() - kept.min() or 1)
    panel.set_ylim(kept.min() - margin, kept.max() + margin)
  marks = []
  look_of = dict(zip(frame['run'].unique(), looks, strict=True))
  for run, first in beyond.groupby('run', sort=False)['round_num'].min().items():
    colour, top = look_of[run].colour, panel.get_xaxis_transform()
    marks.append(panel.scatter(first, 1, s=16, marker='^', color=colour, transform=top, clip_on=False))
    marks[-1].set_label('loss beyond the axis')
  return marks


def _wrap(words: str, width: int) -> str:
  """Breaks text at its commas into lines of `width` characters."""
  lines = ['']
  for part in words.split(', '):
    longer = f'{lines[-1]}, {part}' if lines[-1] else part
    if len(longer.replace('$', '').replace('\\', '')) > width and lines[-1]:
      lines[-1] += ','
      lines.append(part)
    else:
      lines[-1] = longer
  return '\n'.join(lines)


def _place_legend(figure: Figure, handles: Sequence[Artist]) -> Legend:
  """Puts a legend below the panels, in as many columns as fit, its rows equally full."""
  for rows in range(1, len(handles) + 1):
    legend = figure.legend(handles=handles, loc='outside lower center', ncols=math.ceil(len(handles) / rows))
    if rows == len(handles) or legend.get_window_extent().width <= figure.bbox.width:
      break
    legend.remove()
  return legend
