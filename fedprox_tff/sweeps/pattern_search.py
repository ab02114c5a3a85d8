# SPDX-License-Identifier: Apache-2.0
"""A pattern search on ladders with a race of seeds, as a pure function of the criteria that are known.

It tries the start and its neighbours, one rung down and one up on each ladder. The best point that was tried becomes
the centre, and its neighbours are tried, until the best point has no neighbour that was not tried, or the budget is
spent. So the range widens by itself, and a best value lies inside what was tried.

Each new point is run with the first seed. When all new points have been, the race decides which points are run with the
other seeds: those whose criterion with the first seed is at most `within` times the smallest so far. One that diverges
with another seed no longer counts for the smallest, and the race decides again. The criterion of a point is the mean
over its seeds, and only a point that was run with all of them can be the best. This is in the spirit of successive
halving (Jamieson and Talwalkar, AISTATS 2016, arXiv:1502.07943): few runs are spent on what is clearly worse.

If all points diverged, the one with the smallest value of the first flag is the centre, and of these the one with the
smallest value of the second: large steps are what diverges. Of equal criteria, the point that came first is the best.
Decisions are made from complete sets of runs alone, so that the order in which runs end does not matter.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

Point = tuple[int, ...]  # a rung on each ladder, by its index
End = Literal['limit', 'budget']  # the ladder ends beside the best value, or the neighbour did not fit into the budget


class Walk(NamedTuple):
  """How far a search has come."""

  runs: Sequence[tuple[Point, int]]  # all that were asked for so far, in order: the point, and which of the seeds
  criteria: Mapping[Point, float]  # of the tried points, in order: the mean over the seeds that they were run with
  best: Point | None = None  # None until the search has ended
  ends: Mapping[int, End] = {}  # by ladder, if a neighbour of the best point on it was not tried


def walk(
  sizes: Sequence[int],
  start: Point,
  criterion: Callable[[Point, int], float | None],
  *,
  most: int,
  within: float,
  num_seeds: int = 1,
) -> Walk:
  """Returns how far a search has come.

  Args:
    sizes: How many rungs each ladder has.
    start: The first centre.
    criterion: What a run of a point with one of the seeds, by its index, has shown, the less the better: infinite if
      it diverged, None if it is not done.
    most: So many points are tried at most.
    within: The factor of the race, at least 1.
    num_seeds: How many seeds a point that stays in the race is run with, at least 1.
  """
  runs: list[tuple[Point, int]] = []
  first: dict[Point, float] = {}  # the criterion with the first seed, of all tried points
  means: dict[Point, float] = {}  # the mean over all seeds, of those that stayed in the race

  def ask(asked: Sequence[tuple[Point, int]]) -> list[float] | None:
    """Returns what runs have shown; None if one of them is not done."""
    runs.extend(asked)
    shown = [criterion(*run) for run in asked]
    return None if None in shown else shown

  centre = start
  while star := [p for p in (centre, *_neighbours(centre, sizes)) if p not in first][: most - len(first)]:
    shown = ask([(point, 0) for point in star])
    if shown is None:
      return Walk(runs, first | means)
    first |= zip(star, shown, strict=True)
    while racing := _racing(first, means, within):
      others = ask([(point, seed) for point in racing for seed in range(1, num_seeds)])
      if others is None:
        return Walk(runs, first | means)
      for i, point in enumerate(racing):
        of_point = others[i * (num_seeds - 1) : (i + 1) * (num_seeds - 1)]
        means[point] = (first[point] + sum(of_point)) / num_seeds
    centre = _best(first, means)
  return Walk(runs, first | means, centre, _ends(centre, sizes, first))


def _neighbours(point: Point, sizes: Sequence[int]) -> Iterator[Point]:
  """Yields the points one rung down and one up on each ladder."""
  for i, size in enumerate(sizes):
    for rung in (point[i] - 1, point[i] + 1):
      if 0 <= rung < size:
        yield (*point[:i], rung, *point[i + 1 :])


def _racing(first: Mapping[Point, float], means: Mapping[Point, float], within: float) -> list[Point]:
  """Returns the points that stay in the race and have yet to be run with the other seeds."""
  alive = {point: value for point, value in first.items() if math.isfinite(means.get(point, value))}
  bound = within * min(alive.values(), default=math.inf)
  return [point for point, value in alive.items() if value <= bound and point not in means]


def _best(first: Mapping[Point, float], means: Mapping[Point, float]) -> Point:
  finite = {point: mean for point, mean in means.items() if math.isfinite(mean)}
  return min(finite, key=finite.__getitem__) if finite else min(first)


def _ends(best: Point, sizes: Sequence[int], tried: Mapping[Point, float]) -> dict[int, End]:
  """Returns why the best point is at an end, by ladder; the budget where both are the reason."""
  ends: dict[int, End] = {}
  for i, size in enumerate(sizes):
    if best[i] in (0, size - 1):
      ends[i] = 'limit'
    beside = _neighbours((best[i],), [size])
    if not all((*best[:i], *rung, *best[i + 1 :]) in tried for rung in beside):
      ends[i] = 'budget'
  return ends
