# SPDX-License-Identifier: Apache-2.0
"""What all figures share: caption above, legend below, and files whose bytes depend on nothing but the figure."""

import io
import math
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator

from analysis.draw.looks import STYLE

_CHARACTERS_PER_INCH = 18.5  # of a caption
SHARE_FORMAT = '{:.4g}'.format


def finish(figure: Figure, caption: str, handles: Sequence[Artist]) -> None:
  """Puts a caption above and a legend below, and makes the figure higher by what they take."""
  width, height = figure.get_size_inches()
  title = figure.suptitle(wrap(caption, int(_CHARACTERS_PER_INCH * width)))
  legend = _place_legend(figure, handles)
  around = title.get_window_extent().height + legend.get_window_extent().height
  figure.set_size_inches(width, height + around / figure.dpi)


def tick(axis: Axis, *, most: int = 6, integer: bool = False) -> None:
  """Ticks a linear axis at round numbers."""
  axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 5, 10], integer=integer))


def percent(axis: Axis) -> None:
  """Writes an axis's shares in percent."""
  axis.set_major_formatter(lambda share, _: SHARE_FORMAT(100 * share))


def wrap(words: str, width: int) -> str:
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


def render(figure: Figure, suffix: str, title: str = 'Training loss and test accuracy') -> bytes:
  """Returns the figure as a '.png' or '.pdf' file; the same figure gives the same bytes.

  The PDF has its fonts in it, as TrueType.
  """
  caption = figure.get_suptitle().replace('\n', ' ').replace('$', '').replace('\\', '')
  metadata = {'Title': f'{title}: {caption}'}
  metadata |= {'Software': 'analysis/plot.py'} if suffix == '.png' else {'CreationDate': None}
  buffer = io.BytesIO()
  with mpl.style.context(STYLE):
    figure.savefig(buffer, format=suffix.removeprefix('.'), metadata=metadata)
  return buffer.getvalue()


def _place_legend(figure: Figure, handles: Sequence[Artist]) -> Legend:
  """Puts a legend below the panels, in as many columns as fit, its rows equally full."""
  for rows in range(1, len(handles) + 1):
    legend = figure.legend(handles=handles, loc='outside lower center', ncols=math.ceil(len(handles) / rows))
    if rows == len(handles) or legend.get_window_extent().width <= figure.bbox.width:
      break
    legend.remove()
  return legend
