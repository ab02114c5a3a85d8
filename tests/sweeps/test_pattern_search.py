# SPDX-License-Identifier: Apache-2.0
"""The pattern search on made-up criteria, whose way is worked out by hand."""

import itertools
import math
import random

import pytest

from fedprox_tff.sweeps.pattern_search import walk


def line(*values):
  """Returns the criterion of a single ladder, the same for all seeds."""
  return lambda point, seed: values[point[0]]


def points(found, seed=0):
  """Returns the points that were run with a seed, in order; the rungs of a single ladder as numbers."""
  of_seed = [point for point, of in found.runs if of == seed]
  return [point[0] if len(point) == 1 else point for point in of_seed]


def test_the_first_star_is_the_start_and_its_neighbours():
  found = walk([5, 5], (2, 2), lambda point, seed: None, most=12, within=1.25)
  assert points(found) == [(2, 2), (1, 2), (3, 2), (2, 1), (2, 3)]
  assert (found.best, found.criteria) == (None, {})


def test_a_minimum_at_the_start_ends_it_at_once():
  found = walk([5], (2,), line(9, 3, 2, 3, 9), most=12, within=1.25)
  assert points(found) == [2, 1, 3]
  assert (found.best, found.ends) == ((2,), {})
  assert found.criteria == {(2,): 2, (1,): 3, (3,): 3}


def test_it_walks_to_a_minimum_beyond_the_first_star():
  up = walk([8], (1,), line(9, 8, 7, 6, 5, 4, 6, 1), most=12, within=1.0)
  assert points(up) == [1, 0, 2, 3, 4, 5, 6]  # not 7: 6 is worse than 5
  assert (up.best, up.ends) == ((5,), {})
  down = walk([8], (6,), line(9, 8, 2, 3, 4, 5, 6, 7), most=12, within=1.0)
  assert points(down) == [6, 5, 7, 4, 3, 2, 1]
  assert (down.best, down.ends) == ((2,), {})


def test_two_ladders():
  """f = (x - 3)^2 + 2 (y - 1)^2 from (1, 2): right, since 1 + 2 < 4 + 0; then down, since 1 + 0 < 0 + 2; then right."""
  found = walk([6, 5], (1, 2), lambda p, seed: (p[0] - 3) ** 2 + 2 * (p[1] - 1) ** 2, most=20, within=1.0)
  stars = [
    [(1, 2), (0, 2), (2, 2), (1, 1), (1, 3)],  # 6, 11, 3, 4, 12: (2, 2)
    [(3, 2), (2, 1), (2, 3)],  # 2, 1, 9: (2, 1)
    [(3, 1), (2, 0)],  # 0, 3: (3, 1)
    [(4, 1), (3, 0)],  # 1, 2
  ]
  assert points(found) == list(itertools.chain(*stars))
  assert (found.best, found.ends) == ((3, 1), {})


def test_the_budget_ends_it():
  found = walk([9], (1,), line(9, 8, 7, 6, 5, 4, 3, 2, 1), most=5, within=1.0)
  assert points(found) == [1, 0, 2, 3, 4]
  assert (found.best, found.ends) == ((4,), {0: 'budget'})
  found = walk([5, 5], (2, 2), lambda point, seed: abs(point[0] - 2) + abs(point[1] - 2), most=4, within=1.0)
  assert points(found) == [(2, 2), (1, 2), (3, 2), (2, 1)]  # those that fit
  assert (found.best, found.ends) == ((2, 2), {1: 'budget'})  # inside on the first ladder


def test_the_ends_of_a_ladder_are_its_limits():
  low = walk([5], (1,), line(1, 2, 3, 4, 5), most=12, within=1.0)
  assert (points(low), low.best, low.ends) == ([1, 0, 2], (0,), {0: 'limit'})
  high = walk([5], (4,), line(5, 4, 3, 2, 1), most=12, within=1.0)
  assert (points(high), high.best, high.ends) == ([4, 3], (4,), {0: 'limit'})
  # The first star spends the budget, and the neighbours of the best point are not all tried.
  beyond = walk([3, 9], (1, 4), lambda p, seed: 10 + p[0] - 2 * p[1], most=5, within=1.0)
  assert (beyond.best, beyond.ends) == ((1, 5), {0: 'budget', 1: 'budget'})
  both = walk([3, 9], (1, 4), lambda p, seed: 10 + 2 * p[0] - p[1], most=5, within=1.0)
  assert (both.best, both.ends) == ((0, 4), {0: 'limit', 1: 'budget'})
  mixed = walk([2, 9], (0, 1), lambda p, seed: p[0] + (p[1] - 1) ** 2, most=12, within=1.0)
  assert (mixed.best, mixed.ends) == ((0, 1), {0: 'limit'})


def test_where_all_diverged_it_walks_towards_smaller_values_with_the_first_seed_alone():
  found = walk([6], (3,), line(*[math.inf] * 6), most=12, within=1.25, num_seeds=2)
  assert points(found) == [3, 2, 4, 1, 0]
  assert points(found, seed=1) == []
  assert (found.best, found.ends) == ((0,), {0: 'limit'})
  found = walk([9], (7,), line(*[math.inf] * 9), most=4, within=1.25, num_seeds=2)
  assert points(found) == [7, 6, 8, 5]
  assert (found.best, found.ends) == ((5,), {0: 'budget'})
  both = walk([4, 4], (1, 1), lambda point, seed: math.inf, most=10, within=1.25)
  # The smallest of the first flag, (0, 1), then of the second, (0, 0).
  assert points(both) == [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2), (0, 0), (0, 2)]
  assert (both.best, both.ends) == ((0, 0), {0: 'limit', 1: 'limit'})


def test_from_divergence_it_walks_to_what_converges():
  found = walk([6], (4,), line(3, 2, 4, *[math.inf] * 3), most=12, within=1.25, num_seeds=2)
  assert points(found) == [4, 3, 5, 2, 1, 0]
  assert points(found, seed=1) == [2, 1]
  assert (found.best, found.ends) == ((1,), {})


def test_the_race_saves_runs_of_what_is_clearly_worse():
  found = walk([5], (2,), line(9, 2.5, 2, 2.6, 9), most=12, within=1.25, num_seeds=3)
  assert found.runs == [((2,), 0), ((1,), 0), ((3,), 0), ((2,), 1), ((2,), 2), ((1,), 1), ((1,), 2)]
  assert found.best == (2,)
  without = walk([5], (2,), line(9, 2.5, 2, 2.6, 9), most=12, within=1.24, num_seeds=3)
  assert points(without, seed=1) == [2]  # 2.5 is more than 1.24 times 2


def test_the_mean_over_seeds_decides_and_what_was_left_out_cannot_be_chosen():
  values = {(2,): [1.0, 2.0], (1,): [1.2, 1.0], (3,): [1.3, 0.0], (0,): [9.0, 0.0]}
  found = walk([4], (2,), lambda point, seed: values[point][seed], most=12, within=1.25, num_seeds=2)
  assert points(found) == [2, 1, 3, 0]
  assert points(found, seed=1) == [2, 1]
  assert found.criteria == pytest.approx({(2,): 1.5, (1,): 1.1, (3,): 1.3, (0,): 9.0})
  assert (found.best, found.ends) == ((1,), {})


def test_the_smallest_of_earlier_stars_counts_in_later_races():
  """Rung 0 would be within 1.25 of rung 1 in a race of their star alone, but not of rung 2."""
  values = {(2,): [1.0, 9.0], (3,): [1.2, 1.0], (1,): [1.3, 0.0], (4,): [1.24, 1.5], (0,): [0.0, 0.0]}
  found = walk([5], (2,), lambda point, seed: values[point][seed], most=12, within=1.25, num_seeds=2)
  assert points(found) == [2, 1, 3, 4]
  assert points(found, seed=1) == [2, 3, 4]
  assert (found.best, found.ends) == ((3,), {})


def test_one_that_diverges_with_another_seed_leaves_the_race_to_the_others():
  values = {(1,): [1.0, math.inf], (0,): [2.0, 2.2], (2,): [2.4, 1.0], (3,): [9.0, 9.0]}
  found = walk([4], (1,), lambda point, seed: values[point][seed], most=12, within=1.25, num_seeds=2)
  assert points(found, seed=1) == [1, 0, 2]
  assert found.criteria == pytest.approx({(1,): math.inf, (0,): 2.1, (2,): 1.7, (3,): 9.0})
  assert found.best == (2,)


def test_of_equal_criteria_the_first_is_the_best():
  found = walk([5], (2,), line(1, 1, 1, 1, 1), most=12, within=1.0)
  assert (points(found), found.best) == ([2, 1, 3], (2,))


@pytest.mark.parametrize(('size', 'start'), [(2, 0), (3, 1), (7, 0), (7, 3), (7, 5)])
def test_on_one_ladder_with_one_minimum_it_finds_it_and_tries_no_more_than_the_way(size, start):
  for minimum in range(size):
    for within, num_seeds in ((1.0, 1), (1.25, 2)):
      found = walk([size], (start,), lambda p, _, m=minimum: 1.0 + abs(p[0] - m), most=99, within=within,
                   num_seeds=num_seeds)  # fmt: skip
      assert found.best == (minimum,)
      assert (found.ends == {}) == (0 < minimum < size - 1)
      way = range(max(0, min(start, minimum) - 1), min(size, max(start, minimum) + 2))
      assert sorted(points(found)) == list(way)


def random_criterion(seed):
  """Returns made-up criteria of two ladders and three seeds, some of which diverge."""
  rng = random.Random(seed)
  table = {(x, y, s): rng.choice([math.inf, *[rng.uniform(1, 2)] * 4]) for x in range(5) for y in range(4) for s in
           range(3)}  # fmt: skip
  return lambda point, s: table[(*point, s)]


RULES = {'most': 9, 'within': 1.25, 'num_seeds': 3}


@pytest.mark.parametrize('seed', range(20))
def test_the_order_in_which_runs_end_does_not_matter(seed):
  criterion = random_criterion(seed)
  whole = walk([5, 4], (2, 2), criterion, **RULES)
  done, rng = set(), random.Random(seed)
  while True:
    found = walk([5, 4], (2, 2), lambda *run, d=done: criterion(*run) if run in d else None, **RULES)
    assert whole.runs[: len(found.runs)] == found.runs  # nothing that was asked for is taken back
    missing = [run for run in found.runs if run not in done]
    if not missing:
      break
    done.add(rng.choice(missing))
  assert found == whole
  assert len(set(whole.runs)) == len(whole.runs)
  assert len(whole.criteria) <= RULES['most']


def test_nothing_is_decided_before_all_runs_of_a_star_are_done():
  known = {(1,): 1.0, (3,): 5.0}
  found = walk([5], (2,), lambda point, seed: known.get(point), most=12, within=1.25, num_seeds=2)
  assert found.runs == [((2,), 0), ((1,), 0), ((3,), 0)]
  assert found.best is None
