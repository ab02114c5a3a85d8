# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.training.cohort import sample_cohort, with_at_most

SIZES = np.random.default_rng(0).integers(5, 400, size=1000)


def cohort(round_num=1, **kwargs):
  settings = {
    'seed': 0,
    'clients_per_round': 10,
    'epochs': 20,
    'batch_size': 10,
    'stragglers': 0.5,
    'straggler_policy': 'partial',
  }
  return sample_cohort(kwargs.pop('sizes', SIZES), round_num=round_num, **(settings | kwargs))


def clients(participants):
  return [p.client for p in participants]


def stragglers(participants):
  return {p.client for p in participants if p.straggler}


def test_is_pure_in_seed_and_round():
  assert cohort(3) == cohort(3)
  assert cohort(3) != cohort(4)
  assert cohort(3) != cohort(3, seed=1)


@pytest.mark.parametrize(('share', 'late'), [(0.0, 0), (0.5, 5), (0.9, 9), (1.0, 10)])
def test_share_of_stragglers(share, late):
  assert len(stragglers(cohort(stragglers=share))) == late


def test_policies_meet_the_same_clients_and_stragglers():
  for round_num in range(1, 6):
    partial, drop = cohort(round_num), cohort(round_num, straggler_policy='drop')
    assert clients(partial) == clients(drop)
    assert stragglers(partial) == stragglers(drop)


def test_drop_leaves_stragglers_out_and_partial_keeps_them():
  for p in cohort(straggler_policy='drop'):
    assert p.dropped == p.straggler
    assert (p.num_steps == 0) == (p.weight == 0.0) == p.dropped
  for p in cohort(straggler_policy='partial'):
    assert not p.dropped
    assert p.num_steps > 0


def test_no_stragglers_is_the_same_for_both_policies():
  assert cohort(stragglers=0.0) == cohort(stragglers=0.0, straggler_policy='drop')


def test_budgets_are_uniform_in_one_to_e_minus_one():
  """The authors' {1, ..., E - 1}, each about equally often; neither 0 nor E."""
  drawn = [int(p.num_epochs) for r in range(1, 801) for p in cohort(r, stragglers=0.9) if p.straggler]
  counts = np.bincount(drawn, minlength=21)
  assert counts[0] == counts[20] == 0
  expected = len(drawn) / 19
  assert np.all(np.abs(counts[1:20] - expected) < 5 * np.sqrt(expected))


def test_steps_are_whole_epochs_of_the_clients_batches():
  for p in cohort():
    steps_per_epoch = -(-SIZES[p.client] // 10)
    assert p.num_steps == p.num_epochs * steps_per_epoch
    if not p.straggler:
      assert p.num_epochs == 20


def test_a_budget_does_not_depend_on_the_share_of_stragglers():
  half = {p.client: p.num_steps for p in cohort(stragglers=0.5) if p.straggler}
  most = {p.client: p.num_steps for p in cohort(stragglers=0.9) if p.straggler}
  assert half.items() <= most.items()


def test_stragglers_and_budgets_are_new_in_every_round_and_with_every_seed():
  everyone = {'sizes': SIZES[:10], 'stragglers': 0.5}
  drawn = [cohort(r, seed=s, **everyone) for r, s in ((1, 0), (2, 0), (1, 1))]
  budgets = [{p.client: p.num_epochs for p in participants if p.straggler} for participants in drawn]
  assert len({frozenset(budget) for budget in budgets}) == 3
  for first, second in ((0, 1), (0, 2)):
    both = budgets[first].keys() & budgets[second].keys()
    assert both
    assert any(budgets[first][client] != budgets[second][client] for client in both)


def test_one_epoch_stragglers_do_part_of_it_in_steps():
  seen = set()
  for r in range(1, 200):
    for p in cohort(r, epochs=1, stragglers=0.9):
      steps_per_epoch = -(-SIZES[p.client] // 10)
      if not p.straggler:
        assert p.num_steps == steps_per_epoch
      elif steps_per_epoch == 1:
        assert p.num_steps == 1
      else:
        assert 1 <= p.num_steps < steps_per_epoch
        seen.add(p.num_steps / steps_per_epoch)
  assert min(seen) < 0.1
  assert max(seen) > 0.9


def test_weights_are_examples_held_never_examples_seen():
  for p in cohort(stragglers=0.9):
    assert p.weight == SIZES[p.client]
  assert {p.weight for p in cohort(stragglers=0.9, weighting='uniform')} == {1.0}


def test_uniform_sampling_is_without_replacement_and_uniform():
  drawn = np.array([clients(cohort(r)) for r in range(1, 1001)])
  assert all(len(set(row)) == 10 for row in drawn.tolist())
  large = SIZES[drawn] > np.median(SIZES)
  assert abs(large.mean() - 0.5) < 0.03


def test_proportional_sampling_follows_the_sizes():
  sizes = np.array([10, 30, 60])
  drawn = [p.client for r in range(1, 1001) for p in cohort(r, sizes=sizes, sampling='proportional')]
  np.testing.assert_allclose(np.bincount(drawn) / len(drawn), sizes / 100, atol=0.02)


def test_a_client_drawn_twice_straggles_in_both_places_or_in_neither():
  for r in range(1, 50):
    by_client = {}
    for p in cohort(r, sizes=np.array([10, 30, 60]), sampling='proportional'):
      by_client.setdefault(p.client, set()).add(p)
    assert all(len(same) == 1 for same in by_client.values())


def test_a_client_drawn_on_time_once_is_on_time():
  """So proportional sampling can have fewer stragglers than places for them."""
  sizes = np.array([1000, 1, 1])
  for r in range(1, 20):
    participants = cohort(r, sizes=sizes, sampling='proportional', stragglers=0.9)
    if len({p.client for p in participants}) == 1:
      assert not any(p.straggler for p in participants)
      return
  raise AssertionError('no cohort of one client alone')


def test_a_client_without_examples_has_no_work_and_no_weight():
  participants = cohort(sizes=np.array([0, 20]), clients_per_round=2, stragglers=0.0)
  empty = next(p for p in participants if p.client == 0)
  assert (empty.num_steps, empty.num_epochs, empty.weight) == (0, 0.0, 0.0)


@pytest.mark.parametrize('most', [1, 37, 10**6])
def test_budgets_can_be_cut_to_so_many_steps(most):
  before = cohort(stragglers=0.5)
  for p, cut in zip(before, with_at_most(before, most), strict=True):
    assert cut.num_steps == min(p.num_steps, most)
    assert cut.num_epochs == pytest.approx(cut.num_steps / -(-SIZES[p.client] // 10))
    assert cut._replace(num_steps=0, num_epochs=0) == p._replace(num_steps=0, num_epochs=0)  # whatever it does


def test_who_does_nothing_anyway_has_no_budget_to_cut():
  dropped = cohort(stragglers=1.0, straggler_policy='drop')
  assert with_at_most(dropped, 1) == dropped


def test_local_steps_in_the_place_of_epochs():
  """On time a client takes them all, whatever it holds; it may go through its examples several times for that."""
  for p in cohort(epochs=None, local_steps=30):
    steps_per_epoch = -(-SIZES[p.client] // 10)
    assert p.num_epochs == p.num_steps / steps_per_epoch
    assert 1 <= p.num_steps <= 29 if p.straggler else p.num_steps == 30
  counted = cohort(epochs=None, local_steps=30)
  assert [p.client for p in counted] == [p.client for p in cohort()]
  assert {p.num_steps for r in range(1, 400) for p in cohort(r, epochs=None, local_steps=4) if p.straggler} == {1, 2, 3}
  assert all(p.num_steps == 1 for p in cohort(epochs=None, local_steps=1))


def test_who_has_no_examples_takes_no_local_steps():
  (empty,) = cohort(sizes=np.array([0]), clients_per_round=1, epochs=None, local_steps=5, stragglers=0.0)
  assert (empty.num_steps, empty.weight) == (0, 0.0)
