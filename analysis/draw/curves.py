# SPDX-License-Identifier: Apache-2.0
"""Draws runs as a paper prints them: training loss on the left, test accuracy on the right, against rounds."""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from analysis.draw import labels, page
from analysis.draw.looks import STYLE, Look, choose_looks, layer
from analysis.read import runs
from analysis.read.runs import ROUND_NUM
from fedprox_tff.training import columns

_LOSS, _ACCURACY = columns.TRAIN_LOSS.name, columns.TEST_ACCURACY.name
_ENTRY_WIDTH = 110  # characters


def draw(frame: pd.DataFrame) -> Figure:
  """Draws all runs of a table from `runs.load_runs`, with a legend of what sets them apart.

  Raises:
    UserError: If there are more runs than curves that can be told apart.
  """
  with mpl.style.context(STYLE):
    configs = runs.configs(frame)
    entries, caption = labels.legend_and_caption(configs)
    figure = Figure(layout='constrained')
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    looks = choose_looks(list(configs.values()))
    for run, entry, look in zip(configs, entries, looks, strict=True):
      rows = runs.evaluated(frame[frame['run'] == run]).set_index(ROUND_NUM)
      _draw_curve(loss, rows[_LOSS], look, page.wrap(entry, _ENTRY_WIDTH))
      _draw_curve(accuracy, rows[_ACCURACY], look, page.wrap(entry, _ENTRY_WIDTH))
    loss.set_ylabel(columns.TRAIN_LOSS.label)
    accuracy.set_ylabel(columns.TEST_ACCURACY.label)
    page.percent(accuracy.yaxis)
    for panel in (loss, accuracy):
      panel.set_xlabel(columns.ROUND_NUM.label)
      panel.set_xlim(0, max(runs.evaluated(frame)[ROUND_NUM].max(), 1))
      page.tick(panel.xaxis, integer=True)
      page.tick(panel.yaxis)
    marks = _scale_losses(loss, frame, looks)
    page.finish(figure, caption, [*loss.lines, *marks[:1]])
    return figure


def loss_limit(frame: pd.DataFrame) -> float:
  """Returns the training loss beyond which a run has diverged: twice the largest that a run started with."""
  starts = runs.evaluated(frame).groupby('run')[_LOSS].first()
  return 2 * starts[np.isfinite(starts)].max()


def diverged(frame: pd.DataFrame) -> pd.DataFrame:
  """Returns the evaluated rows whose training loss is beyond `loss_limit`, or not a number."""
  rows = runs.evaluated(frame)
  return rows[~(rows[_LOSS].abs() <= loss_limit(frame))]


def mostly_diverged(frame: pd.DataFrame) -> bool:
  """Returns whether most of what there is to draw has diverged, so that only a logarithmic axis can show it."""
  return 2 * len(diverged(frame)) > len(runs.evaluated(frame))


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
    zorder=layer(look),
  )


def _scale_losses(panel: Axes, frame: pd.DataFrame, looks: Sequence[Look]) -> list[PathCollection]:
  """Keeps diverged losses from flattening the others; returns marks on the edge, one for each run that passes it."""
  beyond = diverged(frame)
  losses = runs.evaluated(frame)[_LOSS]
  if mostly_diverged(frame):
    panel.set_yscale('log' if (np.isfinite(losses) & (losses > 0)).any() else 'linear')
    beyond = beyond[~np.isfinite(beyond[_LOSS])]
  elif len(beyond):
    kept = losses.drop(beyond.index)
    margin = 0.05 * (kept.max() - kept.min() or 1)
    panel.set_ylim(kept.min() - margin, kept.max() + margin)
  marks = []
  look_of = dict(zip(frame['run'].unique(), looks, strict=True))
  for run, first in beyond.groupby('run', sort=False)[ROUND_NUM].min().items():
    colour, top = look_of[run].colour, panel.get_xaxis_transform()
    marks.append(panel.scatter(first, 1, s=16, marker='^', color=colour, transform=top, clip_on=False))
    marks[-1].set_label('loss beyond the axis')
  return marks
