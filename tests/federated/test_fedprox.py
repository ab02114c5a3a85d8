# SPDX-License-Identifier: Apache-2.0
"""FedAvg and FedProx on problems Q and W: numbers worked out by hand, two local steps, a step size below 1 / L.

One local step would hide the proximal term, whose gradient is zero at the start; a step size above 1 / L would turn the
effect of its sign around, which is how TFF's own test came to ask for the wrong one.
"""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedavg, fedprox
from fedprox_tff.algorithms.base import ClientRule, Local
from fedprox_tff.algorithms.fedprox import adaptive
from tests import problems


def test_fedavg_on_q():
  process = problems.process(fedavg(), start=0.0, learning_rate=0.25)
  x = problems.run(process, 60, problems.Q, uniform=True)
  assert x[:2] == pytest.approx([1.875, 2.4609375], abs=1e-6)
  assert x[-1] == pytest.approx(30 / 11, abs=1e-5)  # client drift: not the minimiser 3


@pytest.mark.parametrize(('mu', 'first'), [(0.0, 1.875), (1.0, 1.5)])
def test_fedprox_on_q(mu, first):
  process = problems.process(fedprox(mu=mu), start=0.0, learning_rate=0.25)
  assert problems.run(process, 1, problems.Q, uniform=True) == pytest.approx([first], abs=1e-6)


def test_fedprox_on_q_ends_between_drift_and_start():
  process = problems.process(fedprox(mu=1.0), start=0.0, learning_rate=0.25)
  assert problems.run(process, 60, problems.Q, uniform=True)[-1] == pytest.approx(8 / 3, abs=1e-5)


@pytest.mark.parametrize(
  ('algorithm', 'uniform', 'expected'),
  [(fedavg(), False, 2.75), (fedavg(), True, 2.0), (fedprox(mu=1.0), False, 2.5), (fedprox(mu=1.0), True, 2.0)],
)
def test_weights_on_w(algorithm, uniform, expected):
  process = problems.process(algorithm, start=2.0, learning_rate=0.5)
  assert problems.run(process, 1, problems.W, uniform=uniform) == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize('mu', [0.0, 0.5, 1.0])
def test_one_client_reaches_the_closed_form(mu):
  """F = (w - 4)^2 / 2 from 2 with lr 0.5: w <- w - 0.5 ((w - 4) + mu (w - 2)) twice."""
  process = problems.process(fedprox(mu=mu), start=2.0, learning_rate=0.5)
  expected = {0.0: 3.5, 0.5: 3.25, 1.0: 3.0}[mu]
  assert problems.run(process, 1, [(1.0, 4.0, 1)]) == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize(('mu', 'expected'), [(0.5, 3.75), (1.0, 4.0)])
def test_tffs_builtin_pushes_clients_away(mu, expected):
  """The negative control: what the same problem gives with TFF's sign, mu (w^t - w). If this fails, TFF is mended."""
  model = problems.quadratic(2.0)
  process = tff.learning.algorithms.build_weighted_fed_prox(
    model,
    proximal_strength=mu,
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.5),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  example = (np.float32([1.0]), np.float32([4.0]))
  state, _ = process.next(process.initialize(), [tf.data.Dataset.from_tensors(example).repeat(2)])
  assert problems.weight_of(process, state) == pytest.approx(expected, abs=1e-6)


def test_proximal_gradient_is_the_derivative_of_its_term():
  """The gradient of h_k minus that of F_k is the gradient of mu/2 ||w - w^t||^2, by automatic differentiation."""
  rng = np.random.default_rng(0)
  w, anchor, gradient = ([tf.constant(rng.normal(size=s), tf.float32) for s in ((3, 2), (2,))] for _ in range(3))
  with tf.GradientTape() as tape:
    tape.watch(w)
    term = 0.7 / 2 * sum(tf.reduce_sum((x - a) ** 2) for x, a in zip(w, anchor, strict=True))
  expected = tape.gradient(term, w)
  batch = problems.Asked(gradient=lambda at: tuple(gradient))
  of_objective = fedprox().client.gradient(Local(tuple(w), tuple(anchor)), batch, {'mu': 0.7})
  for d, g, e in zip(of_objective, gradient, expected, strict=True):
    np.testing.assert_allclose(d - g, e, rtol=1e-5, atol=1e-7)


def mu_after_each(losses, initial_mu):
  return [adaptive(initial_mu=initial_mu).after(losses[: i + 1]) for i in range(1, len(losses))]


def test_the_papers_rule_for_mu():
  """+0.1 for a rise, -0.1 after five falls in a row."""
  losses = [5, 4, 3, 2, 1, 0.9, 1.2, 1.1]
  assert mu_after_each(losses, 1.0) == [1.0, 1.0, 1.0, 1.0, 0.9, 1.0, 1.0]


def test_each_change_of_mu_starts_the_count_anew():
  falling = list(range(20, 0, -1))
  assert mu_after_each(falling, 1.0)[3:15] == [1.0, *[0.9] * 5, *[0.8] * 5, 0.7]
  assert mu_after_each([9, 8, 7, 6, 5, 6, 5, 4, 3, 2, 1], 0.0) == [*[0.0] * 4, *[0.1] * 5, 0.0]


def test_an_adaptive_mu_stays_at_least_zero():
  assert mu_after_each(list(range(20, 0, -1)), 0.0) == [0.0] * 19


def test_a_loss_that_stays_changes_nothing_and_ends_a_run_of_falls():
  assert mu_after_each([5, 4, 3, 2, 1, 1, 0.9], 1.0) == [1.0] * 6


def test_a_loss_that_is_not_a_number_counts_as_a_rise():
  assert mu_after_each([2.0, math.nan, math.nan], 0.0) == [0.1, 0.2]


def test_before_two_losses_mu_is_the_initial_one():
  assert adaptive(initial_mu=0.3).after([]) == adaptive(initial_mu=0.3).after([1.0]) == pytest.approx(0.3)


def test_an_adaptive_mu_begins_at_its_initial_value_and_follows_the_losses():
  algorithm = fedprox(mu=adaptive(initial_mu=0.3))
  assert algorithm.client.hparams == {'mu': 0.3}
  assert algorithm.schedule.adapt([2.0, 1.0]) == {'mu': 0.3}
  assert algorithm.schedule.adapt([1.0, 2.0]) == {'mu': 0.4}
  assert fedprox(mu=0.3).schedule.adapt is None


def test_large_mu_holds_clients_at_the_server():
  process = problems.process(fedprox(mu=1000.0), start=0.0, learning_rate=1 / 1003)
  moved = problems.run(process, 1, problems.Q, uniform=True)[0]
  assert 0.0 < moved < 0.02


def test_one_step_hides_the_proximal_term():
  """The proximal gradient is zero at w^t, so one step is FedAvg's for every mu."""
  steps = {'num_steps': [1, 1], 'uniform': True}
  prox = problems.run(problems.process(fedprox(mu=5.0), start=0.0, learning_rate=0.25), 1, problems.Q, **steps)
  avg = problems.run(problems.process(fedavg(), start=0.0, learning_rate=0.25), 1, problems.Q, **steps)
  assert prox == avg == [1.5]


def test_partial_work_counts_in_full():
  """A client that takes one of its two steps keeps its weight n_k: F_1 from 2 ends at 1 after one step, F_2 at 3.5."""
  process = problems.process(fedavg(), start=2.0, learning_rate=0.5)
  assert problems.run(process, 1, problems.W, num_steps=[1, 2]) == pytest.approx([(1 * 1.0 + 3 * 3.5) / 4], abs=1e-6)


def test_a_dropped_client_has_no_weight():
  process = problems.process(fedavg(), start=2.0, learning_rate=0.5)
  assert problems.run(process, 1, problems.W, num_steps=[2, 0]) == pytest.approx([0.5], abs=1e-6)


def test_order_of_clients_does_not_matter():
  process = problems.process(fedprox(mu=1.0), start=2.0, learning_rate=0.5)
  forward = problems.run(process, 2, problems.W)
  assert problems.run(process, 2, problems.W[::-1]) == pytest.approx(forward, abs=1e-6)


def test_a_client_twice_weighs_twice():
  process = problems.process(fedavg(), start=2.0, learning_rate=0.5)
  assert problems.run(process, 1, [*problems.W, problems.W[0]]) == pytest.approx([(2 * 0.5 + 3 * 3.5) / 5], abs=1e-6)


def test_nobody_left_skips_the_servers_step():
  """Even with momentum, which would carry the server on."""
  momentum = tff.learning.optimizers.build_sgdm(1.0, momentum=0.9)
  process = problems.process(fedavg(), start=2.0, learning_rate=0.5, server_optimizer=momentum)
  state, metrics = process.next(process.initialize(), problems.payloads(problems.W))
  assert metrics['finalizer']['skipped'] == 0
  for nobody in (problems.payloads(problems.W, num_steps=[0, 0]), []):
    after, metrics = process.next(state, nobody)
    assert metrics['finalizer'] == collections.OrderedDict(update_norm=0.0, skipped=1)
    assert metrics['client_work']['num_clients'] == 0
    tf.nest.map_structure(np.testing.assert_array_equal, tuple(after), tuple(state))


def test_a_client_that_is_not_finite_is_left_out_and_counted():
  process = problems.process(fedavg(), start=2.0, learning_rate=0.5)
  bad = [*problems.W, (1.0, np.nan, 5)]
  state, metrics = process.next(process.initialize(), problems.payloads(bad))
  assert problems.weight_of(process, state) == pytest.approx(2.75, abs=1e-6)
  assert dict(metrics['client_work']) == {
    'num_steps': 6,
    'non_finite': 1,
    'num_clients': 2,
    'num_gradients': 6,
    'num_floats': 6,
  }


def test_hyperparameters_are_state():
  process = problems.process(fedprox(mu=0.0), start=2.0, learning_rate=0.5)
  state = process.initialize()
  hparams = process.get_hparams(state)
  assert dict(hparams['client_work']) == {'learning_rate': 0.5, 'mu': 0.0}
  hparams['client_work']['mu'] = 1.0
  state, _ = process.next(process.set_hparams(state, hparams), problems.payloads(problems.W))
  assert problems.weight_of(process, state) == pytest.approx(2.5, abs=1e-6)


def test_update_norm_is_of_the_mean_update():
  process = problems.process(fedavg(), start=2.0, learning_rate=0.5)
  _, metrics = process.next(process.initialize(), problems.payloads(problems.W))
  assert float(metrics['finalizer']['update_norm']) == pytest.approx(0.75, abs=1e-6)


def test_server_learning_rate_scales_the_mean():
  half = tff.learning.optimizers.build_sgdm(0.5)
  process = problems.process(fedavg(), start=2.0, learning_rate=0.5, server_optimizer=half)
  assert problems.run(process, 1, problems.W) == pytest.approx([2 + 0.5 * 0.75], abs=1e-6)


def test_names_of_hyperparameters_must_not_clash():
  clash = fedavg()._replace(name='mine', client=ClientRule(hparams={'learning_rate': 1.0}))
  with pytest.raises(ValueError, match=r'mine and its client optimizer share .*learning_rate'):
    problems.process(clash, start=0.0, learning_rate=0.5)
