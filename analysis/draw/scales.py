# SPDX-License-Identifier: Apache-2.0
"""Axes of y that panels share: the paper's where it is known, and none that a diverged loss would flatten."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.draw import page
from analysis.draw.looks import Look
from analysis.draw.sheets import Panel
from fedprox_tff.training import columns

Curves = Mapping[str, pd.DataFrame]  # by label: the columns of `bands.summarise`
_LOSSES = (columns.TRAIN_LOSS.name, columns.TEST_LOSS.name)


class Scale(NamedTuple):
  """An axis; what is beyond `diverged` is not on it."""

  limits: tuple[float, float] | None
  diverged: float
  log: bool = False
  percent: bool = False


def choose(panels: Sequence[Panel], curves: Sequence[Curves]) -> Scale:
  """Chooses the axis that panels share."""
  y, tables = panels[0].y, [table for each in curves for table in each.values()]
  percent = y in columns.COLUMNS and columns.COLUMNS[y].percent
  if not tables:
    return Scale(None, np.inf, percent=percent)
  diverged = _loss_limit(tables) if y in _LOSSES else np.inf
  rows = pd.concat(tables)
  kept = rows[rows['mean'].abs() <= min(diverged, np.finfo(float).max)]
  if 2 * len(kept) < len(rows):
    return Scale(None, np.inf, log=bool((kept['mean'] > 0).any()))
  for panel in panels:
    if panel.limits and all(panel.limits[0] <= table['mean'].iloc[-1] <= panel.limits[1] for table in tables):
      return Scale(panel.limits, diverged)
  edges = kept.fillna({'low': kept['mean'], 'high': kept['mean']})
  low, high = max(edges['low'].min(), -diverged), min(edges['high'].max(), diverged)
  if percent:
    low, high = max(low, 0), min(high, 1)
  elif kept['mean'].min() >= 0:
    low = max(low, 0)  # bands of quantities that cannot be negative
  margin = 0.05 * (high - low or 1)
  return Scale((low - margin, high + margin), diverged, percent=percent)


def apply(axes: Axes, scale: Scale, curves: Curves, looks: Mapping[str, Look]) -> bool:
  """Sets a panel's axis, and marks on its edge where a curve first leaves it; returns whether any does."""
  if scale.log:
    axes.set_yscale('log')
  else:
    page.tick(axes.yaxis, most=5)
  if scale.limits:
    axes.set_ylim(scale.limits)
  if scale.percent:
    page.percent(axes.yaxis)
  marked = False
  for label, table in curves.items():
    beyond = table.index[~(table['mean'].abs() <= min(scale.diverged, np.finfo(float).max))]
    if len(beyond):
      style = {'s': 16, 'marker': '^', 'color': looks[label].colour, 'clip_on': False, 'zorder': 5}
      axes.scatter(beyond[0], 1, transform=axes.get_xaxis_transform(), **style)
      marked = True
  return marked


def _loss_limit(tables: Sequence[pd.DataFrame]) -> float:
  """Returns the loss beyond which a curve has diverged: twice the largest that one started with."""
  starts = [table['mean'].iloc[0] for table in tables]
  finite = [start for start in starts if np.isfinite(start)]
  return 2 * max(finite) if finite else np.inf
