# SPDX-License-Identifier: Apache-2.0
"""The trials of a grid: each is the search of one curve at one point of [grid] but for seeds, with its own cells."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fedprox_tff.config.record import Config
from fedprox_tff.config.settings import SETTINGS
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps.curve_section import Curve
from fedprox_tff.sweeps.pattern_search import Point
from fedprox_tff.sweeps.search_section import SearchSection

Values = Mapping[str, Any]  # by flag


@dataclasses.dataclass(frozen=True)
class Trial:
  """The search of one curve at one point of a grid, and the cells that have its result."""

  curve: str
  point: Mapping[str, Any]  # what the grid's lists, but for seeds, are here
  section: SearchSection
  run_of: Callable[[Values, int], Config]  # a run of the search, by the values and the seed
  cell_of: Callable[[Values, int], Config]
  seeds: Sequence[int]  # of the cells
  partner: str = ''  # the name of the curve that tables compare it with
  note: str = ''  # what tables say where a value lies at an end

  def cells(self, values: Values) -> list[Config]:
    """Returns the cells, one for each seed, with values of the flags."""
    return [self.cell_of(values, seed) for seed in self.seeds]

  def values(self, point: Point) -> dict[str, Any]:
    """Returns what a point of the search is, by flag."""
    return {ladder.flag: ladder.rungs[rung] for ladder, rung in zip(self.section.ladders, point, strict=True)}

  @property
  def flags(self) -> list[str]:
    """The flags that are searched for."""
    return [ladder.flag for ladder in self.section.ladders]

  @property
  def start_values(self) -> dict[str, Any]:
    """Where the search begins."""
    return self.values(tuple(ladder.start for ladder in self.section.ladders))

  @property
  def start(self) -> Config:
    """The search's first run."""
    return self.run_of(self.start_values, self.section.seeds[0])

  @property
  def most_runs(self) -> int:
    """How many runs the search takes at most."""
    num_points = math.prod(len(ladder.rungs) for ladder in self.section.ladders)
    return min(num_points, self.section.most) * len(self.section.seeds)

  def __str__(self) -> str:
    return ', '.join(filter(None, (self.curve, *(f'{key}={value}' for key, value in self.point.items()))))


def build(
  content: Mapping[str, Any],
  points: Iterable[Mapping[str, Any]],
  curve: Curve,
  section: SearchSection,
  *,
  overrides: Mapping[str, Any],
  config: Callable[..., Config],
) -> Iterator[Trial]:
  """Yields the trial of a curve at each point of a grid.

  Args:
    content: The grid's file.
    points: Those of the grid, but for seeds, at which the curve exists.
    curve: The curve.
    section: Its search.
    overrides: Flags that replace what the file says. A seed is that of the cells, not of the search, and the search
      never has more rounds than its own.
    config: `(flags, overrides, curve)` to a cell's config.

  Raises:
    UserError: If a cell has a seed of the search, an override a flag that is searched for, or if values at the ends of
      the ladders are not allowed.
  """
  for ladder in section.ladders:
    if ladder.flag in overrides:
      raise UserError(f'--{ladder.flag}: the search of this grid finds it; it cannot be set.')
  base = {**content.get('base', {}), **curve.flags}
  seeds = content.get('grid', {}).get('seed', [base.get('seed', SETTINGS['seed'].default)])
  seeds = list(dict.fromkeys(int(seed) for seed in ([overrides['seed']] if 'seed' in overrides else seeds)))
  for seed in section.seeds:
    if seed in seeds:
      raise UserError(f'[search] seeds: cells have {seed} too; seeds are needed that none has.')
  lasting = {key: value for key, value in overrides.items() if key != 'seed'}
  brief = lasting
  if 'rounds' in lasting and 'rounds' in section.of_runs:
    brief = lasting | {'rounds': min(int(lasting['rounds']), section.of_runs['rounds'])}
  for point in points:

    def run_of(values: Values, seed: int, point: Mapping[str, Any] = point) -> Config:
      return config({**base, **point, **section.of_runs, **values, 'seed': seed}, brief, curve.name)

    def cell_of(values: Values, seed: int, point: Mapping[str, Any] = point) -> Config:
      return config({**base, **point, **values, 'seed': seed}, lasting, curve.name)

    trial = Trial(curve.name, point, section, _once(run_of), cell_of, seeds, curve.partner, curve.note)
    corners = itertools.product(*((ladder.start, 0, len(ladder.rungs) - 1) for ladder in section.ladders))
    for corner in corners:  # what a search comes to later is allowed if these are
      trial.run_of(trial.values(corner), section.seeds[0])
    yield trial


def _once(run_of: Callable[[Values, int], Config]) -> Callable[[Values, int], Config]:
  """Returns the same function, which makes each config once: it is checked, which takes a while."""
  cached = functools.cache(lambda items, seed: run_of(dict(items), seed))
  return lambda values, seed: cached(tuple(values.items()), seed)
