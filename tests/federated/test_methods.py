# SPDX-License-Identifier: Apache-2.0
"""Every method on problems Q and W, worked out by hand, what it reduces to, and what no method may depend on.

A new method is a row of `METHODS`; FedProx's own tests are in test_fedprox.py.
"""

import functools
import math
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow_federated as tff

from fedprox_tff import algorithms
from fedprox_tff.algorithms import ALGORITHMS, fedavg
from fedprox_tff.algorithms.base import Local
from fedprox_tff.config import Config
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from tests import problems


class Method(NamedTuple):
  """A method on Q: what it is there, and where rounds end that start at x."""

  name: str
  q: list[float]  # x after each round
  arguments: Mapping[str, Any] = types.MappingProxyType({})  # on Q; elsewhere its defaults
  start: float = 0.0

  @property
  def id(self):
    return '-'.join([self.name, *(f'{key}={value}' for key, value in self.arguments.items())])


OPT = {'server_learning_rate': 0.1, 'tau': 0.01}

METHODS = [
  Method('fedavg', [1.875, 2.4609375]),
  Method('fedprox', [1.5]),
  Method('fedavgm', [1.875, 4.1484375]),
  Method('fedavgm', [3.5625, 3.990234375], {'nesterov': True}),
  Method('fedadam', [0.0948101, 0.2242877], OPT),
  Method('fedyogi', [0.0948088, 0.2239619], OPT),
  Method('fedadagrad', [0.0994681], OPT),
  Method('fedadagrad', [0.0099468, 0.0233299], OPT | {'beta_1': 0.9}),
  Method('fedgm', [0.35625, 0.8178398]),
  Method('fedexp', [1.875], {'epsilon': 0.0}),  # one client does not move: the step is exactly 1
  Method('fedexp', [2 + 2.140625 / (2 * 0.251) * 0.5], start=2.0),  # 4.13210
  Method('fedexp', [2.5 + 32.5 * 0.15625], {'epsilon': 0.0}, start=2.5),
  Method('fedexp', [1.5], {'epsilon': 0.0, 'mu': 1.0}),  # FedProx's clients, and again one of them does not move
  # From 0: client 1 stays; 2 clips u = -12 to -6, y = 1.5; u = -7.5 + 0.75 to -6, y = 3.
  Method('fednar', [1.5], {'weight_decay': 0.5, 'max_norm': 6.0}),
  # Not clipped: y = 3, then u = -3 + 0.5 * 3.
  Method('fednar', [1.6875], {'weight_decay': 0.5, 'max_norm': 100.0}),
  # With mu = 1: y = 1.5; u = -7.5 + 1.5 + 0.75 = -5.25.
  Method('fednar', [1.40625], {'weight_decay': 0.5, 'max_norm': 6.0, 'mu': 1.0}),
  Method('dualprox', [1.3125], {'mu': 1.0, 'step_penalty': 0.5}),
  # Client 2: y = 2.4, then the second branch, since the first is 1/a = 1/3. Client 1 stays at 0.
  Method('delta_sgd', [(0 + 2.4 + 1.6 * 3 * 0.2 * math.sqrt(1.1)) / 2]),
  Method('delta_sgd', [(2.4 + 1.6 * 3 * 0.1) / 2], {'gamma': 0.6}),  # the first branch, gamma / (2 a), binds
  Method('fedavg_m', [1.21875, 2.4565430], {'beta': 0.5}),
]


def build(name, arguments=None, **kwargs):
  return _build(name, tuple((arguments or {}).items()), **kwargs)


@functools.cache
def _build(name, arguments, **kwargs):
  return problems.process(ALGORITHMS[name](**dict(arguments)), **kwargs)


def q(name, arguments=None, *, rounds=3, start=0.0, learning_rate=0.25, **kwargs):
  """Returns x after each round on Q."""
  process = build(name, arguments, start=start, learning_rate=learning_rate)
  return problems.run(process, rounds, problems.Q, uniform=True, **kwargs)


@pytest.mark.parametrize('method', METHODS, ids=lambda method: method.id)
def test_numbers_worked_out_by_hand(method):
  x = q(method.name, method.arguments, rounds=len(method.q), start=method.start)
  assert x == pytest.approx(method.q, rel=2e-6)


def test_every_method_has_a_row():
  assert (
    {method.name for method in METHODS} == ALGORITHMS.keys() == set(algorithms.__all__) - {'ALGORITHMS', 'Algorithm'}
  )


LARGE_TAU = {'server_learning_rate': 2e6, 'tau': 1e6}
# What a method is at a setting: another one at its setting, round by round.
REDUCTIONS = [
  ('fedprox', {'mu': 0.0}, 'fedavg', {}),
  ('fedavgm', {'server_momentum': 0.0}, 'fedavg', {}),
  ('fedavgm', {'server_momentum': 0.0, 'nesterov': True}, 'fedavg', {}),
  ('fedgm', {'nu': 0.0}, 'fedavg', {}),
  ('fedgm', {'server_momentum': 0.0}, 'fedavg', {}),
  ('fedgm', {'nu': 1.0}, 'fedavgm', {'server_learning_rate': 0.1}),  # damped: 1 - 0.9
  ('fedexp', {'epsilon': 1e30}, 'fedavg', {}),
  ('fedexp', {'epsilon': 1e30, 'mu': 1.0}, 'fedprox', {'mu': 1.0}),
  ('fednar', {'weight_decay': 0.0, 'max_norm': 1e30}, 'fedavg', {}),
  ('fednar', {'weight_decay': 0.0, 'max_norm': 1e30, 'mu': 1.0}, 'fedprox', {'mu': 1.0}),
  ('dualprox', {'mu': 0.0, 'step_penalty': 0.0}, 'fedavg', {}),
  ('dualprox', {'mu': 1.0, 'step_penalty': 0.0}, 'fedprox', {'mu': 1.0}),
  ('delta_sgd', {'gamma': 1e30, 'delta': 0.0, 'initial_learning_rate': 0.25}, 'fedavg', {}),
  # Against a large tau D is small: v stays tau^2, and the step is lr D / (2 tau).
  ('fedadagrad', LARGE_TAU, 'fedavg', {}),
  ('fedadam', LARGE_TAU | {'beta_1': 0.0, 'beta_2': 1.0}, 'fedavg', {}),
  ('fedyogi', LARGE_TAU | {'beta_1': 0.0}, 'fedavg', {}),
]


@pytest.mark.parametrize(('name', 'arguments', 'other', 'others'), REDUCTIONS)
def test_reduces_to(name, arguments, other, others):
  """With the same clients in each round, of which one takes half of its steps."""
  kwargs = {'num_steps': [2, 1]}
  assert q(name, arguments, **kwargs) == pytest.approx(q(other, others, **kwargs), rel=5e-6)


def test_fedavg_m_of_fresh_gradients_is_fedavg():
  """Where all take as many steps, since gamma is the mean of eta K_k."""
  assert q('fedavg_m', {'beta': 1.0}) == pytest.approx(q('fedavg'), rel=1e-6)
  assert q('fedavg_m', {'beta': 1.0, 'server_learning_rate': 0.5})[0] == pytest.approx(0.5 * 1.875)


def test_fedavg_m_divides_by_the_steps_that_a_client_took():
  """From 1, beta = 1: client 1 goes to 0.75 in one step, client 2 to 3.8125 in two.

  g = ((1 - 0.75) / 0.25 + (1 - 3.8125) / 0.5) / 2, and gamma = (0.25 + 0.5) / 2.
  """
  x = q('fedavg_m', {'beta': 1.0}, rounds=1, start=1.0, num_steps=[1, 2])
  assert x == pytest.approx([1 - 0.375 * (1.0 - 5.625) / 2], rel=1e-6)


@pytest.mark.parametrize(
  ('a', 'b', 'start', 'expected'),
  [(1.0, 0.0, 1.0, [0.8, 0.6321906, 0.4928004, 0.3785761]), (10.0, 4.0, 0.0, [8.0, 4.0, 4.0, 4.0])],
)
def test_step_sizes_of_delta_sgd(a, b, start, expected):
  """One client, one to four steps; in the second the minimiser is hit, where differences vanish."""
  process = build('delta_sgd', start=start, learning_rate=None)
  for num_steps, x in enumerate(expected, start=1):
    examples = (np.float32([a]), np.float32([b]))
    payload = client_payload(examples, num_epochs=4, batch_size=1, key=(0,), num_steps=num_steps)
    state, _ = process.next(process.initialize(), [payload])
    assert problems.trained(state) == pytest.approx(x, abs=1e-6)


@pytest.mark.parametrize(('start', 'expected'), [(-2.0, -1.4), (10.0, 9.4)])
def test_fednar_clips_the_decay_too(start, expected):
  arguments = {'weight_decay': 0.5, 'max_norm': 6.0}
  process = build('fednar', arguments, start=start, learning_rate=0.1)
  assert problems.run(process, 1, [(3.0, 4.0, 1)], num_steps=[1]) == pytest.approx([expected], rel=1e-6)


def test_fedexp_evaluates_the_mean_of_the_last_two_iterates():
  process = build('fedexp', start=2.0, learning_rate=0.25)
  state = process.initialize()
  assert problems.weight_of(process, state) == 2.0
  iterates = [2.0]
  for _ in range(3):
    state, _ = process.next(state, problems.payloads(problems.Q, uniform=True))
    iterates.append(problems.trained(state))
    assert problems.weight_of(process, state) == pytest.approx((iterates[-1] + iterates[-2]) / 2, rel=1e-6)


def test_fedexp_weighs_both_means():
  """W from 2: D_1 = 1.5 with weight 1, D_2 = -1.5 with 3; the mean square 2.25, the mean -0.75."""
  process = build('fedexp', {'epsilon': 0.0}, start=2.0, learning_rate=0.5)
  assert problems.run(process, 1, problems.W) == pytest.approx([2 + 2.25 / (2 * 0.5625) * 0.75], rel=1e-6)


def test_norms_are_over_all_tensors_together():
  local = Local(((np.float32([3.0])), np.float32([4.0])), (np.float32([0.0]), np.float32([0.0])))
  fednar = ALGORITHMS['fednar']()
  zeros = (np.float32([0.0]), np.float32([0.0]))
  u = fednar.direction(zeros, local, {'mu': 0.0, 'weight_decay': 1.0, 'max_norm': 2.5})
  np.testing.assert_allclose(u, [[1.5], [2.0]], rtol=1e-6)
  assert float(ALGORITHMS['fedexp']().finish(local, {}).extra) == 25.0


@pytest.mark.parametrize('name', ['fedavgm'])
def test_its_first_round_is_fedavgs(name):
  ours, fedavgs = q(name), q('fedavg')
  assert ours[0] == fedavgs[0]
  assert ours[1] != pytest.approx(fedavgs[1], rel=1e-3)


TFFS = {
  'fedadam': lambda rate, tau: tff.learning.optimizers.build_adam(rate, beta_2=0.99, epsilon=tau),
  'fedyogi': lambda rate, tau: tff.learning.optimizers.build_yogi(rate, beta_2=0.99, epsilon=tau),
  'fedadagrad': lambda rate, tau: tff.learning.optimizers.build_adagrad(rate, epsilon=tau),
}


@pytest.mark.parametrize('name', TFFS)
def test_tffs_form_is_tffs_optimizer(name):
  ours = q(name, {'fedopt_form': 'tff', 'server_learning_rate': 0.3, 'tau': 0.02}, rounds=4)
  process = problems.process(fedavg(), start=0.0, learning_rate=0.25, server_optimizer=TFFS[name](0.3, 0.02))
  assert ours == pytest.approx(problems.run(process, 4, problems.Q, uniform=True), rel=1e-5)
  assert ours != pytest.approx(q(name, {'server_learning_rate': 0.3, 'tau': 0.02}, rounds=4), rel=1e-3)


every_method = pytest.mark.parametrize('name', ALGORITHMS)


@every_method
def test_the_order_of_clients_does_not_matter(name):
  process = build(name, start=2.0, learning_rate=0.5)
  forward = problems.run(process, 2, problems.W)
  assert problems.run(process, 2, problems.W[::-1]) == pytest.approx(forward, rel=1e-6)


@every_method
def test_a_client_twice_is_one_of_twice_the_weight(name):
  """A client of Q a second time, and Q with the weights 1 and 2."""
  process = build(name, start=1.0, learning_rate=0.25)
  twice = problems.payloads([*problems.Q, problems.Q[1]], uniform=True)
  heavy = problems.payloads(problems.Q, uniform=True)
  heavy[1]['context'][0]['weight'] = np.float32(2)
  results = [process.next(process.initialize(), payloads)[0] for payloads in (twice, heavy)]
  assert problems.trained(results[0]) == pytest.approx(problems.trained(results[1]), rel=1e-6)


@every_method
def test_a_client_that_is_not_finite_is_left_out(name):
  process = build(name, start=2.0, learning_rate=0.5)
  bad = problems.payloads([*problems.W, (1.0, math.nan, 5)])
  state, metrics = process.next(process.initialize(), bad)
  assert metrics['client_work']['non_finite'] == 1
  assert problems.trained(state) == problems.run(process, 1, problems.W)[0]


@every_method
def test_a_dropped_client_is_no_client(name):
  process = build(name, start=2.0, learning_rate=0.5)
  state, metrics = process.next(process.initialize(), problems.payloads(problems.W, num_steps=[2, 0]))
  assert metrics['client_work']['non_finite'] == 0
  assert problems.trained(state) == problems.run(process, 1, problems.W[:1])[0]


@every_method
def test_nobody_left_leaves_the_server_as_it_is(name):
  process = build(name, start=2.0, learning_rate=0.5)
  state, _ = process.next(process.initialize(), problems.payloads(problems.W))
  for nobody in (problems.payloads(problems.W, num_steps=[0, 0]), []):
    after, metrics = process.next(state, nobody)
    assert metrics['finalizer']['skipped'] == 1
    for a, b in zip(tff.structure.flatten(after), tff.structure.flatten(state), strict=True):
      np.testing.assert_array_equal(a, b)


@every_method
def test_weights_that_are_set_are_those_that_one_gets(name):
  process = build(name, start=2.0, learning_rate=0.5)
  weights = tff.learning.models.ModelWeights((np.float32(1.5),), ())
  state = process.set_model_weights(process.initialize(), weights)
  assert problems.weight_of(process, state) == 1.5
  assert problems.trained(process.next(state, problems.payloads(problems.W))[0]) == pytest.approx(
    problems.run(build(name, start=1.5, learning_rate=0.5), 1, problems.W)[0], rel=1e-6
  )


@every_method
def test_hyperparameters_are_values_in_the_state(name):
  """A process whose values are set is one that was built with them: sweeps share it."""
  factory = ALGORITHMS[name]
  config = Config.from_flags({'algorithm': name})
  numbers = {k: v for k, v in config.arguments_of(factory).items() if type(v) is float}
  other = factory(**{key: value * 0.75 for key, value in numbers.items()})
  process, expected = (problems.process(a, start=1.0, learning_rate=0.25) for a in (factory(), other))
  state = process.initialize()
  hparams = process.get_hparams(state)
  hparams['client_work'].update(other.hparams)
  hparams['finalizer'].update(other.server_hparams)
  state, xs = process.set_hparams(state, hparams), []
  for _ in range(3):
    state, _ = process.next(state, problems.payloads(problems.Q))
    xs.append(problems.trained(state))
  assert xs == pytest.approx(problems.run(expected, 3, problems.Q), rel=1e-6)


@every_method
def test_its_flags_have_fields_and_its_record_is_complete(name):
  config = Config.from_flags({'algorithm': name})
  algorithm = ALGORITHMS[name](**config.arguments_of(ALGORITHMS[name]))
  assert algorithm.name == name
  assert (config.weighting, config.straggler_policy) == (algorithm.weighting, algorithm.straggler_policy)


def test_a_rule_for_the_servers_step_takes_no_server_optimizer():
  sgd = tff.learning.optimizers.build_sgdm(1.0)
  with pytest.raises(ValueError, match="fedgm is a rule for the server's step itself"):
    build('fedgm', start=0.0, learning_rate=0.5, server_optimizer=sgd)


def test_step_sizes_of_its_own_take_no_client_optimizer():
  sgd = tff.learning.optimizers.build_sgdm(1.0)
  model = problems.quadratic(0.0)
  with pytest.raises(ValueError, match='delta_sgd has step sizes of its own'):
    build_process(ALGORITHMS['delta_sgd'](), model, client_optimizer=sgd)
  with pytest.raises(ValueError, match='fedavg needs client_optimizer'):
    build_process(fedavg(), model, client_optimizer=None)
