# SPDX-License-Identifier: Apache-2.0
"""Draws how a federation is split: which classes its clients hold, as a map, and how many examples, above it."""

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.draw import page
from analysis.draw.looks import STYLE
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.datasets.statistics import class_counts

MOST_CLIENTS = 100  # that are drawn; of more, the first ones
_WIDTH, _SIZES_HEIGHT, _AROUND = 6.75, 0.6, 0.6  # inches
_CLASS_HEIGHT, _LEAST_HEIGHT, _MOST_HEIGHT = 0.13, 0.6, 3.6  # of the map
_UNEVEN = 20  # how many times more examples than the smallest the largest client has where the axis is logarithmic
_FEW, _MANY = '#d6e6f0', '#00324f'  # from a light to a dark tone of the colour of the bars


def draw(dataset: FederatedDataset, title: str) -> Figure:
  """Draws a federation, training and test examples together.

  Args:
    dataset: The federation.
    title: What the caption calls it.

  Raises:
    UserError: If its examples do not have one label each.
  """
  if dataset.task.label_shape:
    raise UserError(f'--dataset={dataset.name}: its examples have more than one label, so clients hold no classes.')
  shown = min(dataset.num_clients, MOST_CLIENTS)
  counts = np.array([class_counts(dataset, client) for client in range(shown)])
  map_height = _map_height(dataset.num_classes)
  with mpl.style.context(STYLE):
    figure = Figure(layout='constrained', figsize=(_WIDTH, _AROUND + _SIZES_HEIGHT + map_height))
    FigureCanvasAgg(figure)
    ratios = {'height_ratios': [_SIZES_HEIGHT, map_height]}
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw=ratios)
    _draw_sizes(above, counts.sum(axis=1))
    _draw_classes(below, counts)
    figure.align_ylabels()
    words = figure.suptitle(page.wrap(_caption(dataset, title, counts), 120))
    height = words.get_window_extent().height / figure.dpi
    figure.set_size_inches(_WIDTH, figure.get_size_inches()[1] + height)
    return figure


def _map_height(num_classes: int) -> float:
  return float(np.clip(_CLASS_HEIGHT * num_classes, _LEAST_HEIGHT, _MOST_HEIGHT))


def _draw_sizes(axes: Axes, sizes: np.ndarray) -> None:
  axes.bar(np.arange(len(sizes)), sizes, width=0.8)
  axes.set_ylabel('# Examples')
  if sizes.max() > _UNEVEN * max(sizes.min(), 1):
    axes.set_yscale('log')
    axes.set_ylim(bottom=max(sizes.min(), 1) / 2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f'{size:,.0f}'))
    axes.minorticks_off()
  else:
    page.tick(axes.yaxis, most=3, integer=True)
  axes.grid(visible=False, axis='x')
  axes.tick_params(axis='x', length=0)


def _draw_classes(axes: Axes, counts: np.ndarray) -> None:
  """Draws a column of cells for each client; a cell without examples stays white."""
  num_clients, num_classes = counts.shape
  least = min(counts[counts > 0].min(), counts.max() / 10)  # what is nearly even looks so
  tones = LinearSegmentedColormap.from_list('examples', [_FEW, _MANY])
  image = axes.imshow(
    np.ma.masked_equal(counts.T, 0),
    cmap=tones,
    norm=LogNorm(least, counts.max()),
    aspect='auto',
    origin='lower',
    interpolation='nearest',
  )
  axes.set_xlabel('Client')
  axes.set_ylabel('Class')
  axes.set_xlim(-0.5, num_clients - 0.5)
  axes.set_ylim(-0.5, num_classes - 0.5)
  page.tick(axes.xaxis, most=10, integer=True)
  page.tick(axes.yaxis, most=10, integer=True)
  axes.grid(visible=False)
  bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03, aspect=_map_height(num_classes) / 0.1)
  bar.set_label('# Examples')
  bar.outline.set_linewidth(0.4)
  bar.ax.minorticks_off()
  bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f'{count:,.0f}'))


def _caption(dataset: FederatedDataset, title: str, counts: np.ndarray) -> str:
  held = np.count_nonzero(counts, axis=1)
  clients = f'{dataset.num_clients:,} clients'
  if len(counts) < dataset.num_clients:
    clients = f'the first {len(counts)} of {clients}'
  words = f'{title}, {clients}, {counts.sum():,} examples, a client holds '
  if held.min() == held.max():
    return f'{words}{held.min()} of {dataset.num_classes} classes'
  return f'{words}{held.min()} to {held.max()} of {dataset.num_classes} classes, {np.mean(held):.1f} on average'
