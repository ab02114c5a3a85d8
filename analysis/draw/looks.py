# SPDX-License-Identifier: Apache-2.0
"""What curves look like: the paper's line style for each method, colours that colour-blind readers tell apart."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.style

from analysis.draw.labels import record_of
from fedprox_tff.core.errors import UserError

STYLE = ['default', pathlib.Path(__file__).parent / 'paper.mplstyle']  # no settings of the user's
_MARKERS = ('', 'o', 's', '^', 'v', 'D', 'P', 'X')
# The paper's for FedProx, FedAvg, FedProx with mu = 0, and ours for an adaptive mu; the first colours are theirs.
_LINE_STYLES = ('-', ':', '--', '-.')
_TOP_LAST = ('-', '-.', '--', ':')  # where curves coincide, the lower ones show in the gaps of the upper


class Look(NamedTuple):
  """What a curve looks like."""

  style: str
  colour: str
  marker: str


def choose_looks(configs: Sequence[Mapping[str, Any]]) -> list[Look]:
  """Gives each run a look that no other has: the paper's line style for its method, and a colour of its own.

  Markers set runs apart when there are no colours left. The methods' own colours go to the first run of each.
  """
  with mpl.style.context(STYLE):
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


def layer(look: Look) -> float:
  """Returns the z-order of a curve."""
  return 2 + 0.1 * _TOP_LAST.index(look.style)


def _line_style(config: Mapping[str, Any]) -> str:
  method = record_of('algorithm', config)
  return method.line if method else '-'
