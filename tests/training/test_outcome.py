# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from fedprox_tff.training.outcome import trouble


def rows(skipped, losses=None, steps=7):
  """Returns the rows of a run: a character for each round from 1 on, x where the server took no step."""
  losses = losses or [1.0] * (len(skipped) + 1)
  return [
    {
      'round_num': float(r), 'cohort/steps': float(steps) if r else 0.0,
      'cohort/skipped': float(r > 0 and skipped[r - 1] == 'x'),
      'test/accuracy': math.nan if loss is None else 0.5, 'test/loss': math.nan, 'train/accuracy': math.nan,
      'train/loss': math.nan if loss is None else loss,
    }
    for r, loss in enumerate(losses)
  ]  # fmt: skip


@pytest.mark.parametrize('skipped', ['', '....', '.xxxxxxxxx.', 'xxxxxxxxx.', 'x.', 9 * 'x' + '.' + 9 * 'x'])
def test_a_run_that_trains_is_in_no_trouble(skipped):
  assert trouble(rows(skipped)) is None


def test_no_rows_are_no_trouble():
  assert trouble([]) is None


@pytest.mark.parametrize(
  ('skipped', 'rounds'),
  [
    ('x', 'in round 1'),
    ('xxx', 'from round 1 to round 3'),
    ('..' + 10 * 'x', 'from round 3 to round 12'),
    ('x.' + 11 * 'x' + '.', 'from round 3 to round 13'),  # it went on later, with what it had
  ],
)
def test_rounds_without_a_step(skipped, rounds):
  found = trouble(rows(skipped))
  assert found.mark == f'diverged in round {rounds.removeprefix("from ").split()[1 if "to" in rounds else 2]}'
  assert f'{rounds} the server took no step' in found.text
  assert 'try a smaller --learning_rate' in found.text
  stood = trouble(rows(skipped, steps=0))
  assert (
    f'stood still {rounds}, since all clients were dropped or had no examples; try --straggler_policy=partial'
    in stood.text
  )
  assert stood.mark.startswith('stood still from round ')


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_loss_that_is_not_finite_in_the_end(bad):
  assert trouble(rows('....', [1.0, bad, None, 2.0, 1.0])) is None  # it came back
  found = trouble(rows('.....', [1.0, bad, 1.0, bad, None, bad]))
  assert found.mark == 'diverged in round 3'
  assert 'its training loss is not finite from round 3 on' in found.text
  assert '\n' not in found.text


def test_what_was_not_evaluated_says_nothing():
  assert trouble(rows('...', [1.0, 1.0, None, None])) is None
