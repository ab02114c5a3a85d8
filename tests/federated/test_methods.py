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
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS, fedavg
from fedprox_tff.algorithms.base import Local, Report, Server
from fedprox_tff.config.choice import choose
from fedprox_tff.config.record import Config
from fedprox_tff.core import tree
from fedprox_tff.core.batches import BLOCK
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from tests import problems


class Method(NamedTuple):
  """A method on Q: what it is there, and where rounds end that start at x."""

  name: str
  q: list[float]  # x after each round
  arguments: Mapping[str, Any] = types.MappingProxyType({})  # on Q; elsewhere its defaults
  start: float = 0.0
  setting: Mapping[str, Any] = types.MappingProxyType({})  # other than two steps of 0.25
  kept: list[list[float]] | None = None  # what each client keeps in the end

  @property
  def id(self):
    return '-'.join([self.name, *(f'{key}={value}' for key, value in self.arguments.items())])


H_AND_SEEN = [[2.6953125, 3.75, 1.0], [2.6953125, -3.75, 1.0]]  # the last x_i, and h_i
NOVA = {'server_momentum': 0.5, 'server_learning_rate': 0.5}
OPT = {'server_learning_rate': 0.1, 'tau': 0.01}
AUTHORS = {'server_learning_rate': 1.0, 'tau': 3.0, 'fedopt_form': 'authors'}

METHODS = [
  Method('fedavg', [1.875, 2.4609375]),
  Method('fedprox', [1.5]),
  Method('fedavgm', [1.875, 4.1484375]),
  Method('fedavgm', [3.5625, 3.990234375], {'nesterov': True}),
  Method('fedadam', [0.0948101, 0.2242877], OPT),
  Method('fedyogi', [0.0948088, 0.2239619], OPT),
  # v = 9 - 0.01 * 1.875^2 shrinks, as D^2 is below it.
  Method('fedyogi', [0.1875 / (math.sqrt(8.96484375) + 3)], {'server_learning_rate': 1.0, 'tau': 3.0}),
  Method('fedadagrad', [0.0994681], OPT),
  Method('fedadagrad', [0.0099468, 0.0233299], OPT | {'beta_1': 0.9}),
  # The authors' form. m = 0.1 D and sqrt(v) = 0.1 |D|, as v starts at 0; both corrections are 0.1.
  Method('fedadam', [0.1875 / 3.1875, 0.1389973], AUTHORS),
  Method('fedyogi', [2.75 - 0.0015625 / 0.0115625], AUTHORS | {'tau': 0.01}, start=2.75),  # D = 1/64
  # tau is outside the root: 1.875 / (1.875 + 3), then D = -1.6105769 and v = 3.515625 + 2.5939580.
  Method('fedadagrad', [0.3846154, 0.6789590], AUTHORS),
  Method('fedgm', [0.35625, 0.8178398]),
  Method('fedgm', [0.178125], {'server_learning_rate': 0.5}),
  Method('fedexp', [1.875], {'epsilon': 0.0}),  # one client does not move: the step is exactly 1
  Method('fedexp', [2 + 2.140625 / (2 * 0.251) * 0.5], start=2.0),  # 4.13210
  Method('fedexp', [2.5 + 32.5 * 0.15625], {'epsilon': 0.0}, start=2.5),
  Method('fedexp', [1.5], {'epsilon': 0.0, 'mu': 1.0}),  # FedProx's clients, and again one of them does not move
  # From 0: client 1 stays; 2 clips u = -12 to -6, y = 1.5; u = -7.5 + 0.75 to -6, y = 3.
  Method('fednar', [1.5], {'weight_decay': 0.5, 'max_norm': 6.0}),
  # Not clipped: y = 3, then u = -3 + 0.5 * 3.
  Method('fednar', [1.6875], {'weight_decay': 0.5, 'max_norm': 100.0}),
  # What decays is y, not y - w^t. From 2: client 1 goes 1.25, 0.78125, client 2 goes 3.25, 3.40625.
  Method('fednar', [2.09375], {'weight_decay': 0.5, 'max_norm': 100.0}, start=2.0),
  # With mu = 1: y = 1.5; u = -7.5 + 1.5 + 0.75 = -5.25.
  Method('fednar', [1.40625], {'weight_decay': 0.5, 'max_norm': 6.0, 'mu': 1.0}),
  Method('dualprox', [1.3125], {'mu': 1.0, 'step_penalty': 0.5}),
  # Client 2: y = 2.4, then the second branch, since the first is 1/a = 1/3. Client 1 stays at 0.
  Method('delta_sgd', [(0 + 2.4 + 1.6 * 3 * 0.2 * math.sqrt(1.1)) / 2]),
  Method('delta_sgd', [(2.4 + 1.6 * 3 * 0.1) / 2], {'gamma': 0.6}),  # the first branch, gamma / (2 a), binds
  Method('fedavg_m', [1.21875, 2.4565430, 3.1804733], {'beta': 0.5}),
  Method('fednova', [1.875, 2.4609375]),
  # From 2: client 1 takes one step, 0.5 back, and client 2 two, 1.875 ahead: d = 0.5 and -0.9375, tau = 1.5.
  Method('fednova', [2.328125], start=2.0, setting={'num_steps': [1, 2]}),
  Method('fednova', [1.40625, 2.0544434], setting={'num_steps': [1, 2]}),
  # Client 2 goes 1.5 ahead, a_2 = (1 - 0.75^2) / 0.25 = 1.75; tau counts steps, 1.5.
  Method('fednova', [2.2678571, 2.3993940], {'mu': 1.0}, start=2.0, setting={'num_steps': [1, 2]}),
  Method('fednova', [2.1640625, 2.3659363], NOVA, start=2.0, setting={'num_steps': [1, 2]}),
  Method('scaffold', [1.875, 2.6953125], kept=[[2.109375], [-5.390625]]),
  Method('scaffold', [1.875, 2.8359375], {'scaffold_option': 1}, kept=[[1.875], [-6.375]]),
  # One step of client 2: its variate is one gradient, -12, and c = -6.
  Method('scaffold', [1.5], setting={'num_steps': [2, 1]}, kept=[[0.0], [-12.0]]),
  # Client 1 stays, client 2 goes to 3, and w = 1.5 + 1.5; then they go to 1.875 and 3.
  Method('feddyn', [3.0, 3.375, 3.1875], {'dynamic_strength': 1.0}, kept=[[-1.96875], [2.71875]]),
  Method('feddyn', [3.375, 3.7441406, 3.2637634], {'dynamic_strength': 0.5}),
  Method('scaffnew', [1.875, 2.6953125], {'communication_probability': 0.5}, kept=H_AND_SEEN),
  Method('fedinit', [1.875, 2.5078125], kept=[[1.16015625, 1.0], [3.85546875, 1.0]]),
  # delta = -0.5: client 1 goes 1.53125, 1.2734375, client 2 goes 3.84375, 4.3359375.
  Method('fedlesam', [1.875, 2.8046875], {'rho': 0.5}, kept=[[1.875, 1.0], [1.875, 1.0]]),
  # Client 1 is at rest and not perturbed. Client 2 goes to 3.375 and 4.21875, by the gradient at y - 0.5, then y + 0.5.
  Method('fedsam', [2.109375, 2.6591797, 2.4559937], {'rho': 0.5}),
  Method('fedsam', [2.3125], {'rho': 0.5}, start=1.0),
  Method('mofedsam', [1.3710938, 2.7050171, 3.4599295], {'rho': 0.5, 'beta': 0.5}),
  # m = -3 after round 1, half of the mean of 0 and -12.
  Method('mimelite', [1.21875, 2.5795898, 3.4278488], {'beta': 0.5}),
  Method('mimelite', [0.2887501, 0.8127775, 1.497627]),
  # From 0, m = 0 and c = -6: both go to 0.75, then client 1 to 1.40625 and client 2 to 1.21875; m = -3.
  Method('mime', [1.3125, 2.70703125, 3.5324707], {'beta': 0.5}),
  Method('mime', [0.2925, 0.81973125, 1.5068156]),
  # F = 0 and 24, D = 0 and -3.75: 24 * 3.75 / (24 + 4 * 14.0625).
  Method('qfedavg', [1.1214953, 1.8916290, 2.3277621]),
  Method('qfedavg', [2.3781095], start=2.0),
  Method('qfedavg', [2.4292408], {'q': 0.5}, start=2.0),
  # One step from 1, F = 1/2 and 27/2, the gradients 1 and -9.
  Method('qfedavg', [1 + 1640 / (2 + 2916)], {'q': 2.0}, start=1.0, setting={'num_steps': [1, 1]}),
  # Client 2: y' = 3, y = 0.75, then y' = 3.1875, y = 1.359375. HF gradients are a quarter of FO ones.
  Method('per_fedavg', [0.6796875, 1.1283875, 1.4245996], {'personal_learning_rate': 0.25}),
  Method('per_fedavg', [0.18310546875], {'personal_learning_rate': 0.25, 'per_fedavg_form': 'hf'}),
  Method('fedavg_ft', [1.875, 2.4609375]),
  # From 2.25: g = -1.5; client 1 goes 2.625, 2.90625, client 2 goes 2.625, 2.71875.
  Method('feddane', [2.25, 2.8125]),
  # g = -6: client 1 descends 2 y - 6, client 2 descends 4 y - 6.
  Method('feddane', [1.875], {'mu': 1.0}),
  Method('fedbn', [1.875, 2.4609375]),  # without normalisation layers
  Method('fedper', [1.875, 2.4609375]),  # without a head
  Method('fedrep', [1.875, 2.4609375]),
  Method('fedrep', [0.9375], {'server_learning_rate': 0.5}),
  Method('ditto', [1.875, 2.4609375], kept=[[0.703125], [3.46875]]),
  Method(
    'pfedme',
    [0.225],
    {'personal_strength': 2.0, 'personal_learning_rate': 0.25, 'inner_steps': 2},
    setting={'learning_rate': 0.1, 'num_steps': [1, 1]},
    kept=[[0.0], [2.25]],
  ),
  # Two local steps: client 2's theta goes 3, 2.25, w = 0.45; then on from 2.25: 2.6625, 2.559375 and w = 0.871875.
  Method(
    'pfedme',
    [0.4359375],
    {'personal_strength': 2.0, 'personal_learning_rate': 0.25, 'inner_steps': 2},
    setting={'learning_rate': 0.1},
    kept=[[0.0], [2.559375]],
  ),
]

# FedEM's losses are those of classifiers, and MOON's features those of networks: test_fedem.py, test_moon.py.
ON_QUADRATICS = [
  name for name in ALGORITHMS if not ALGORITHMS[name]().needs.components and not ALGORITHMS[name]().needs.features
]


def made(name, arguments):
  """Returns the record of a method that a run with these flags would have."""
  return choose(ALGORITHMS[name], name, arguments).build()


def build(name, arguments=None, **kwargs):
  """Returns the process of a method on a quadratic; those that differ in hyperparameters alone share what is compiled.

  As runs do, they have these in their state.
  """
  algorithm = made(name, arguments or {})
  hparams = {'client_work': dict(algorithm.client.hparams), 'finalizer': dict(algorithm.server.hparams)}
  if not algorithm.needs.own_step_size:
    hparams['client_work']['learning_rate'], kwargs['learning_rate'] = kwargs['learning_rate'], 1.0
  values = {'server_learning_rate', *hparams['client_work'], *hparams['finalizer']}
  structure = tuple((key, value) for key, value in (arguments or {}).items() if key not in values)
  return Started(_build(name, structure, **kwargs), hparams)


@functools.cache
def _build(name, structure, **kwargs):
  return problems.process(made(name, dict(structure)), **kwargs)


class Started:
  """A process that starts with its own hyperparameters."""

  def __init__(self, process, hparams):
    self._process, self._hparams = process, hparams

  def __getattr__(self, name):
    return getattr(self._process, name)

  @property
  def unguarded(self):
    return Started(problems.on_any_clients(self._process), self._hparams)

  def initialize(self):
    state = self._process.initialize()
    hparams = self._process.get_hparams(state)
    for part, values in self._hparams.items():
      assert values.keys() <= hparams[part].keys()
      hparams[part].update(values)
    return self._process.set_hparams(state, hparams)


def play_q(name, arguments=None, *, rounds=3, start=0.0, learning_rate=0.25, **kwargs):
  """Returns the federation after some rounds on Q, and x after each of them."""
  federation = problems.Federation(build(name, arguments, start=start, learning_rate=learning_rate))
  return federation, [federation.play(problems.payloads(problems.Q, uniform=True, **kwargs)) for _ in range(rounds)]


def q(name, arguments=None, **kwargs):
  """Returns x after each round on Q."""
  return play_q(name, arguments, **kwargs)[1]


@pytest.mark.parametrize('method', METHODS, ids=lambda method: method.id)
def test_numbers_worked_out_by_hand(method):
  federation, x = play_q(method.name, method.arguments, rounds=len(method.q), start=method.start, **method.setting)
  assert x == pytest.approx(method.q, rel=2e-6)
  if method.kept is not None:
    assert [federation.kept(client) for client in (0, 1)] == [pytest.approx(kept, rel=2e-6) for kept in method.kept]


def test_every_method_has_a_row():
  assert {method.name for method in METHODS} == set(ON_QUADRATICS)


# The defaults of --weighting and --straggler_policy, which results depend on, and what else a method demands: written
# down from the code, so that none changes unnoticed. A new method need not be here.
RECORDS = [
  ('fedavg', {}, 'examples', 'drop'),
  ('fedprox', {}, 'examples', 'partial'),
  ('fedavgm', {}, 'examples', 'drop'),
  ('fedadagrad', {}, 'examples', 'drop'),
  ('fedadam', {}, 'examples', 'drop'),
  ('fedyogi', {}, 'examples', 'drop'),
  ('fedgm', {}, 'uniform', 'drop'),
  ('fedexp', {}, 'uniform', 'drop'),
  ('fedexp', {'backbone': 'scaffold'}, 'uniform', 'drop', 'plain_sgd'),
  ('fednar', {}, 'examples', 'drop'),
  ('fednar', {'backbone': 'scaffold'}, 'uniform', 'drop', 'plain_sgd'),
  ('dualprox', {}, 'examples', 'partial'),
  ('delta_sgd', {}, 'uniform', 'drop', 'own_step_size'),
  ('fedavg_m', {}, 'uniform', 'drop', 'plain_sgd'),
  ('fednova', {}, 'examples', 'partial', 'sgd'),
  ('scaffold', {}, 'uniform', 'drop', 'plain_sgd'),
  ('scaffold', {'scaffold_option': 1}, 'uniform', 'drop'),
  ('feddyn', {}, 'uniform', 'drop'),
  ('scaffnew', {}, 'uniform', 'partial', 'plain_sgd', 'all_clients'),
  ('fedinit', {}, 'uniform', 'drop'),
  ('fedlesam', {}, 'uniform', 'drop'),
  ('fedsam', {}, 'uniform', 'drop'),
  ('mofedsam', {}, 'uniform', 'drop', 'plain_sgd'),
  ('mimelite', {}, 'uniform', 'drop', 'plain_sgd'),
  ('mime', {}, 'uniform', 'drop', 'plain_sgd'),
  ('qfedavg', {}, 'uniform', 'drop', 'plain_sgd'),
  ('per_fedavg', {}, 'examples', 'drop'),
  ('fedavg_ft', {}, 'examples', 'drop'),
  ('feddane', {}, 'examples', 'drop'),
  ('fedbn', {}, 'uniform', 'drop'),
  ('fedper', {}, 'examples', 'drop'),
  ('fedrep', {}, 'examples', 'drop', 'plain_sgd'),
  ('ditto', {}, 'uniform', 'drop'),
  ('pfedme', {}, 'uniform', 'drop'),
  ('moon', {}, 'examples', 'drop'),
  ('fedem', {}, 'examples', 'drop'),
]


def test_records_do_not_change_unnoticed():
  for name, arguments, *record in RECORDS:
    algorithm = made(name, arguments)
    demands = [key for key in ('plain_sgd', 'sgd', 'all_clients', 'own_step_size') if getattr(algorithm.needs, key)]
    assert [algorithm.policy.weighting, algorithm.policy.stragglers, *demands] == record, name


LARGE_TAU = {'server_learning_rate': 2e6, 'tau': 1e6}
FIRST = {'scaffold_option': 1}
EXP_OF_SCAFFOLD = {'backbone': 'scaffold'}
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
  ('fedadam', {'fedopt_form': 'authors'}, 'fedadam', {'fedopt_form': 'tff'}),
  ('fedinit', {'relaxation': 0.0}, 'fedavg', {}),
  ('fedinit', {'fedinit_average': 'steps'}, 'fedinit', {}),  # where all take part
  ('fedinit', {'fedinit_newcomers': 'initial'}, 'fedinit', {}),  # in round 1 w^0 is w^t
  ('fedlesam', {'rho': 0.0}, 'fedavg', {}),
  ('fedsam', {'rho': 0.0}, 'fedavg', {}),
  ('mofedsam', {'rho': 0.0, 'beta': 0.5}, 'fedavg_m', {'beta': 0.5}),
  ('mimelite', {'beta': 0.0}, 'fedavg', {}),
  ('mime', {'beta': 0.0}, 'feddane', {}),  # where all of a client's examples are one batch
  ('qfedavg', {'q': 0.0}, 'fedavg', {}),
  ('per_fedavg', {'personal_learning_rate': 0.0}, 'fedavg', {}),
  ('per_fedavg', {'personal_learning_rate': 0.0, 'per_fedavg_form': 'hf'}, 'fedavg', {}),
  ('fedavg_ft', {}, 'fedavg', {}),
  ('fedbn', {}, 'fedavg', {}),
  ('fedper', {}, 'fedavg', {}),
  ('fedrep', {}, 'fedavg', {}),
  ('ditto', {'personal_strength': 0.0}, 'fedavg', {}),
  ('ditto', {'personal_strength': 5.0}, 'fedavg', {}),
  ('fednova', {}, 'fedavg_m', {'beta': 1.0}),
  ('fedexp', {'epsilon': 1e30, 'backbone': 'scaffold'}, 'scaffold', {}),
  ('fednar', {'weight_decay': 0.0, 'max_norm': 1e30, 'backbone': 'scaffold'}, 'scaffold', {}),
  ('fedexp', {'epsilon': 1e30, 'backbone': 'scaffold', **FIRST}, 'scaffold', FIRST),
  ('fednar', {'weight_decay': 0.0, 'max_norm': 1e30, 'backbone': 'scaffold', **FIRST}, 'scaffold', FIRST),
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


def test_fednova_of_equally_many_steps_is_fedavg():
  """a_k cancels; with mu > 0 it leaves K / a = 2 / 1.75 of FedProx's step, since tau counts steps."""
  assert q('fednova') == pytest.approx(q('fedavg'), rel=1e-6)
  assert q('fednova', {'server_momentum': 0.5}) == pytest.approx(q('fedavgm', {'server_momentum': 0.5}), rel=1e-6)
  assert q('fednova', {'mu': 1.0})[0] == pytest.approx(q('fedprox', {'mu': 1.0})[0] * 2 / 1.75, rel=1e-6)


def test_fednova_weighs_directions_and_steps_alike():
  """W from 2, one step and two: d = 1 and -0.75 with the weights 1 and 3, tau = (1 + 3 * 2) / 4."""
  process = build('fednova', start=2.0, learning_rate=0.5)
  x = problems.run(process, 1, problems.W, num_steps=[1, 2])
  assert x == pytest.approx([2 - 1.75 * (1.0 - 3 * 0.75) / 4], rel=1e-6)


def test_fednova_does_not_lean_towards_those_who_work_more():
  """With short steps its limit is close to the minimiser, 3, and FedAvg's to 24/7, where client 2 counts twice."""
  ends = {}
  for name in ('fednova', 'fedavg'):
    federation = problems.Federation(build(name, start=3.0, learning_rate=0.01))
    for _ in range(300):
      ends[name] = federation.play(problems.payloads(problems.Q, uniform=True, num_steps=[1, 2]))
  assert ends == {'fednova': pytest.approx(2.98862, rel=1e-5), 'fedavg': pytest.approx(3.42112, rel=1e-4)}


@pytest.mark.parametrize(('momentum', 'moved', 'a'), [(None, 3.0, 2.3125), (0.5, 3.75, 3.3125)])
def test_fednova_knows_what_a_proximal_term_takes_back(momentum, moved, a):
  """Client 2 of Q alone, three steps with mu = 1; without momentum a is (1 - 0.75^3) / 0.25."""
  process = problems.process(made('fednova', {'mu': 1.0}), start=0.0, learning_rate=0.25, momentum=momentum)
  payload = client_payload((np.float32([3.0]), np.float32([4.0])), num_epochs=3, batch_size=1, key=(0,))
  assert problems.Federation(process).play([payload]) == pytest.approx(3 * moved / a, rel=1e-6)


# From 0 client 1 stays. With rho = 1/2 client 2 goes to 3, then by 9/4 more; a_2 = 1 + 3/2 and a_1 = 1, so tau = 7/4.
# With mu = 1 its second gradient is -3 + 3: by 6/4 more; a_2 = 1 + (1/2 + 1 - 1/4), and tau counts steps.
@pytest.mark.parametrize(('mu', 'expected'), [(0.0, 7 / 4 * (5.25 / 2.5) / 2), (1.0, 3 / 2 * (4.5 / 2.25) / 2)])
def test_fednova_knows_what_momentum_adds_up_to(mu, expected):
  process = problems.process(made('fednova', {'mu': mu}), start=0.0, learning_rate=0.25, momentum=0.5)
  assert problems.run(process, 1, problems.Q, uniform=True, num_steps=[1, 2]) == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize('name', ['mimelite', 'mime'])
def test_mimelite_and_mime_of_one_step_are_sgd_with_momentum_on_all_data(name):
  """The clients' step along (1 - beta) g + beta m is the one along the next m."""
  x, m, expected = 0.0, 0.0, []
  for _ in range(4):
    m = 0.2 * (x + 3 * (x - 4)) / 2 + 0.8 * m
    x -= 0.25 * m
    expected.append(x)
  assert q(name, {'beta': 0.8}, rounds=4, num_steps=[1, 1]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('name', ['mimelite', 'mime'])
def test_mimelites_and_mimes_momentum_is_of_gradients_at_the_servers_weights(name):
  """By the weights of the mean: W from 2, gradients 2 and -2 with the weights 1 and 3, whatever steps clients take."""
  for num_steps in ([2, 2], [1, 2]):
    federation = problems.Federation(build(name, {'beta': 0.75}, start=2.0, learning_rate=0.5))
    federation.play(problems.payloads(problems.W, num_steps=num_steps))
    assert problems.message_of(federation) == pytest.approx(-1.0 * 0.25, rel=1e-6)


def test_mimelite_is_tffs_with_a_momentum_that_is_not_dampened():
  """TFF's clients step by eta (g + beta m), m without the factor 1 - beta: ours, with eta / (1 - beta)."""
  beta, rate = 0.6, 0.1
  theirs = tff.learning.algorithms.build_unweighted_mime_lite(
    problems.quadratic(0.0), tff.learning.optimizers.build_sgdm(rate, beta)
  )
  rows = [(np.float32([a]), np.float32([b])) for a, b, _ in problems.Q]
  data = [tf.data.Dataset.from_tensors(row).repeat(problems.STEPS) for row in rows]
  state, expected = theirs.initialize(), []
  for _ in range(4):
    state = theirs.next(state, data).state
    expected.append(float(theirs.get_model_weights(state).trainable[0]))
  assert q('mimelite', {'beta': beta}, rounds=4, learning_rate=rate / (1 - beta)) == pytest.approx(expected, rel=1e-5)


def test_mime_takes_the_gradient_at_the_servers_weights_from_the_same_batch():
  """At y = 1, w^t = 0 a batch of 3/2 (y - 4)^2 says -9 and -12; with m = 2 and c = 5 the direction is (2 + 8) / 2."""
  local = Local((1.0,), (0.0,), message=(2.0, 5.0))
  batch = problems.Asked(gradient=lambda at: (3 * (at[0] - 4),))
  assert ALGORITHMS['mime']().client.gradient(local, batch, {'beta': 0.5}) == (5.0,)


def test_mime_sends_the_momentum_beside_what_clients_have_gathered():
  """Two tensors of each, in this order; the momentum is renewed once, by what was gathered."""
  server = ALGORITHMS['mime']().server
  assert len(server.init(((np.zeros(2)), np.zeros(3))).message) == 4
  message = server.gathered((1.0, 2.0, 3.0, 4.0), (5.0, 6.0))
  assert message == (1.0, 2.0, 5.0, 6.0)
  assert server.message(Server((0.0, 0.0), message), Report(()), {'beta': 0.75})[:2] == (2.0, 3.0)


def test_qfedavg_weighs_both_sums_alike():
  """W from 2: F = 2 on both, D = 1.5 and -1.5 with the weights 1 and 3; both denominators are 2 + 2 * 2.25."""
  process = build('qfedavg', start=2.0, learning_rate=0.5)
  assert problems.run(process, 1, problems.W) == pytest.approx([2 - 2 * 1.5 * (1 - 3) / (4 * 6.5)], rel=1e-6)


def test_qfedavgs_lipschitz_constant_follows_the_learning_rate():
  """From 2 with the rate 1/8: F = 2 and 6, D = 0.46875 and -1.21875."""
  federation = problems.Federation(build('qfedavg', start=2.0, learning_rate=0.25))
  hparams = federation.process.get_hparams(federation.state)
  hparams['client_work']['learning_rate'] = 0.125
  federation.state = federation.process.set_hparams(federation.state, hparams)
  expected = 2 - (2 * 0.46875 - 6 * 1.21875) / (8 + 8 * (0.46875**2 + 1.21875**2))
  assert federation.play(problems.payloads(problems.Q, uniform=True)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('power', [0.0, 1.0, 5.0])
def test_qfedavg_of_one_step_reaches_the_minimiser_of_its_objective(power):
  """F_1^{q+1} + F_2^{q+1} is least where x / (4 - x) = 3^{(q + 1) / (2 q + 1)}: at 3, 2.701 and 2.582."""
  ratio = 3 ** ((power + 1) / (2 * power + 1))
  x = q('qfedavg', {'q': power}, rounds=30, num_steps=[1, 1])
  assert x[-1] == pytest.approx(4 * ratio / (1 + ratio), rel=2e-6)


def test_qfedavg_is_finite_where_a_loss_is_zero():
  """F^{q-1} is not, for q = 1/2."""
  one, zero = (tf.constant([1.0]),), (tf.constant([0.0]),)
  nothing = problems.Asked(loss=lambda at: tf.constant(0.0))
  report = ALGORITHMS['qfedavg']().client.finish(Local(one, zero), nothing, {'q': 0.5, 'learning_rate': 0.5})
  assert float(report.update[0][0]) == pytest.approx(-1e-5, rel=1e-5)
  assert float(report.extra) == pytest.approx(1e-5 + 0.5 / 0.5 * 1e5, rel=1e-5)


@pytest.mark.parametrize(('form', 'expected'), [('fo', -7.5), ('hf', -7.5 * (1 - 0.25))])
def test_per_fedavg_takes_its_second_gradient_from_another_batch(form, expected):
  """At y = 2: y^2 / 2 leads to y' = 1.5, where 3/2 (y - 4)^2 says -7.5; the curvature is the first one's, 1."""
  other = problems.Asked(gradient=lambda at: (3 * (at[0] - 4),))
  client = ALGORITHMS['per_fedavg'](per_fedavg_form=form).client
  hparams = {'personal_learning_rate': 0.25}
  assert client.step(Local((2.0,), (0.0,)), problems.Asked(other=other), hparams).direction == (expected,)


def test_mofedsam_of_fresh_gradients_is_fedsam():
  """Where all take as many steps, as fedavg_m is FedAvg."""
  assert q('mofedsam', {'rho': 0.5, 'beta': 1.0}) == pytest.approx(q('fedsam', {'rho': 0.5}), rel=1e-6)


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
    assert problems.Federation(process).play([payload]) == pytest.approx(x, abs=1e-6)


def test_delta_sgd_looks_back_by_one_step():
  """On y^4 / 4, whose curvature changes, so that it shows where gradients are compared; the first branch binds."""

  def cubes(weights):
    return tuple(y**3 for y in weights)

  client, batch, ends = ALGORITHMS['delta_sgd']().client, problems.Asked(gradient=cubes), []
  hparams = {'gamma': 0.4, 'delta': 1.0, 'initial_learning_rate': tf.constant(0.1)}
  one = (tf.constant([1.0]),)
  local = Local(one, one, scratch=client.start(Local(one, one), batch, hparams).scratch)
  for num_steps in range(3):
    descent, scratch = client.step(local._replace(num_steps=num_steps), batch, hparams)
    local = local._replace(weights=tree.sub(local.weights, descent), scratch=scratch)
    ends.append(float(local.weights[0]))
  assert ends == pytest.approx([0.9, 0.8461993, 0.7932254], rel=1e-6)  # step sizes 0.1, 0.0738007, 0.0874266


def test_delta_sgds_step_grows_where_the_gradient_does_not_turn():
  zero, one, three = ((tf.constant([x]),) for x in (0.0, 1.0, 3.0))
  scratch = (zero, tf.constant(0.2), tf.constant(1.0))
  local, batch = Local(one, zero, scratch=scratch, num_steps=1), problems.Asked(gradient=lambda at: three)
  (descent,), (_, eta, theta) = ALGORITHMS['delta_sgd']().client.step(local, batch, {'gamma': 2.0, 'delta': 0.21})
  assert [float(descent[0]), float(eta), float(theta)] == pytest.approx([0.66, 0.22, 1.1], rel=1e-6)


def test_steps_are_numbered_and_batched_across_blocks():
  """Delta-SGD's step size grows by each step but the round's first, where 1 / a does not bind."""
  process = build('delta_sgd', {'delta': 0.01, 'initial_learning_rate': 0.002}, start=0.0, learning_rate=None)
  b = np.float32([2.0, 10.0])
  payload = client_payload((np.ones_like(b), b), num_epochs=(BLOCK + 44) // 2, batch_size=1, key=(1,))
  x, eta, theta = 0.0, 0.002, 1.0
  for step, (row,) in enumerate(payload['context'][0]['order'][: BLOCK + 44]):
    if step:
      theta = math.sqrt(1 + 0.01 * theta)
      eta *= theta
    x -= eta * (x - b[row])
  assert problems.Federation(process).play([payload]) == pytest.approx(x, rel=2e-5)


def test_dualprox_holds_a_step_at_the_iterate_before():
  """Client 2 of Q: 3, then 2.625; the third step is of -4.125 + 2.625 + 0.5 (2.625 - 3)."""
  process = build('dualprox', {'mu': 1.0, 'step_penalty': 0.5}, start=0.0, learning_rate=0.25)
  payload = client_payload((np.float32([3.0]), np.float32([4.0])), num_epochs=3, batch_size=1, key=(0,))
  assert problems.Federation(process).play([payload]) == pytest.approx(3.046875, rel=1e-6)


@pytest.mark.parametrize(('start', 'expected'), [(-2.0, -1.4), (10.0, 9.4)])
def test_fednar_clips_the_decay_too(start, expected):
  arguments = {'weight_decay': 0.5, 'max_norm': 6.0}
  process = build('fednar', arguments, start=start, learning_rate=0.1)
  assert problems.run(process, 1, [(3.0, 4.0, 1)], num_steps=[1]) == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize(('weight_decay', 'learning_rate', 'gamma'), [(0.0, 0.25, 0.9375), (0.5, 0.5, 0.8125)])
def test_fednars_inexactness_is_that_of_its_objective(weight_decay, learning_rate, gamma):
  """F(x) = (x - 4)^2 / 2 from 0, where grad h = -4; one step along the clipped -1 leads to x = lr.

  There grad h = x - 4 + lambda x: -3.75, and -3.25. The clipped gradient would have the norm 1 before and after.
  """
  arguments = {'weight_decay': weight_decay, 'max_norm': 1.0}
  process = build('fednar', arguments, start=0.0, learning_rate=learning_rate, measure_gamma=True)
  federation = problems.Federation(process)
  assert federation.play(problems.payloads([(1.0, 4.0, 1)], num_steps=[1])) == pytest.approx(learning_rate)
  assert float(federation.metrics['client_work']['gamma']) == pytest.approx(gamma, rel=1e-6)


def test_fedexp_evaluates_the_mean_of_the_last_two_iterates():
  federation = problems.Federation(build('fedexp', start=2.0, learning_rate=0.25))
  assert problems.weight_of(federation.process, federation.state) == 2.0
  iterates = [2.0]
  for _ in range(3):
    iterates.append(federation.play(problems.payloads(problems.Q, uniform=True)))
    evaluated = problems.weight_of(federation.process, federation.state)
    assert evaluated == pytest.approx((iterates[-1] + iterates[-2]) / 2, rel=1e-6)


def test_fedexp_weighs_both_means():
  """W from 2: D_1 = 1.5 with weight 1, D_2 = -1.5 with 3; the mean square 2.25, the mean -0.75."""
  process = build('fedexp', {'epsilon': 0.0}, start=2.0, learning_rate=0.5)
  assert problems.run(process, 1, problems.W) == pytest.approx([2 + 2.25 / (2 * 0.5625) * 0.75], rel=1e-6)


def test_norms_are_over_all_tensors_together():
  local = Local(((np.float32([3.0])), np.float32([4.0])), (np.float32([0.0]), np.float32([0.0])))
  fednar = ALGORITHMS['fednar']().client
  flat = problems.Asked(gradient=lambda at: (np.float32([0.0]), np.float32([0.0])))
  u, _ = fednar.step(local, flat, {'mu': 0.0, 'weight_decay': 1.0, 'max_norm': 2.5})
  np.testing.assert_allclose(u, [[1.5], [2.0]], rtol=1e-6)
  assert float(ALGORITHMS['fedexp']().client.finish(local, flat, {}).extra) == 25.0
  asked = problems.Asked(loss=lambda at: tf.constant(2.0))
  assert float(ALGORITHMS['qfedavg']().client.finish(local, asked, {'q': 1.0, 'learning_rate': 0.5}).extra) == 52.0
  bowl = problems.Asked(gradient=lambda at: at)  # of half the squared norm, here from (3, 4)
  np.testing.assert_allclose(ALGORITHMS['fedsam']().client.gradient(local, bowl, {'rho': 0.5}), [[3.3], [4.4]])


@pytest.mark.parametrize('name', ['fedavgm', 'scaffold', 'fedinit', 'fedlesam'])
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


every_method = pytest.mark.parametrize('name', ON_QUADRATICS)


def on_any_clients(name, arguments=None, start=2.0):
  """Returns the process of a method that takes also rounds which the method is not defined for."""
  return problems.on_any_clients(build(name, arguments, start=start, learning_rate=0.5))


@every_method
def test_the_order_of_clients_does_not_matter(name):
  forward, backward = (problems.Federation(on_any_clients(name)) for _ in range(2))
  for _ in range(3):
    payloads = problems.payloads(problems.W)
    x = forward.play(payloads)
    assert backward.play(payloads[::-1], clients=[1, 0]) == pytest.approx(x, rel=1e-6)
  assert backward.client_states.keys() == forward.client_states.keys()
  for client in forward.client_states:
    assert backward.kept(client) == pytest.approx(forward.kept(client), rel=1e-6)


@pytest.mark.parametrize('name', [name for name in ON_QUADRATICS if not ALGORITHMS[name]().needs.num_clients])
def test_a_client_twice_is_one_of_twice_the_weight(name):
  """A client of Q a second time, and Q with the weights 1 and 2."""
  process = on_any_clients(name)
  heavy = problems.payloads(problems.Q, uniform=True)
  heavy[1]['context'][0]['weight'] = np.float32(2)
  expected = problems.Federation(process).play(heavy)
  twice = problems.payloads([*problems.Q, problems.Q[1]], uniform=True)
  assert problems.Federation(process).play(twice, clients=[0, 1, 1]) == pytest.approx(expected, rel=1e-6)


@every_method
def test_a_client_that_is_not_finite_is_left_out(name):
  process = on_any_clients(name)
  federation, expected = problems.Federation(process), problems.Federation(process)
  for _ in range(3):
    x = federation.play(problems.payloads([*problems.W, (1.0, math.nan, 5)]))
    assert federation.metrics['client_work']['non_finite'] == 1
    assert x == expected.play(problems.payloads(problems.W))
  if federation.client_states:  # it keeps what it had
    initial = [float(leaf) for leaf in tf.nest.flatten(process.initial_client_state)]
    assert federation.kept(2) == initial
    assert federation.kept(1) == expected.kept(1)


@every_method
def test_a_dropped_client_is_no_client(name):
  process = on_any_clients(name)
  federation, expected = problems.Federation(process), problems.Federation(process)
  federation.play(problems.payloads(problems.W))
  expected.play(problems.payloads(problems.W))
  before = federation.kept(1) if federation.client_states else None
  x = federation.play(problems.payloads(problems.W, num_steps=[2, 0]))
  assert federation.metrics['client_work']['non_finite'] == 0
  assert x == expected.play(problems.payloads(problems.W[:1]))
  if before is not None:
    assert federation.kept(0) == expected.kept(0) != before
    assert federation.kept(1) == before


@every_method
def test_nobody_left_leaves_the_server_as_it_is(name):
  federation = problems.Federation(on_any_clients(name))
  federation.play(problems.payloads(problems.W))
  state, client_states = federation.state, federation.client_states
  for nobody in (problems.payloads(problems.W, num_steps=[0, 0]), []):
    federation.play(nobody)
    assert federation.metrics['finalizer']['skipped'] == 1
    for a, b in zip(tff.structure.flatten(federation.state), tff.structure.flatten(state), strict=True):
      np.testing.assert_array_equal(a, b)
    tf.nest.map_structure(np.testing.assert_array_equal, federation.client_states, client_states)


@pytest.mark.parametrize(
  ('name', 'arguments', 'clients', 'learning_rate'),
  [
    ('fedavg', {}, [(1.0, 3e19, 1)], 1.0),  # the norm of the mean
    ('fedexp', {}, [(1.0, 1.5e19, 1), (1.0, -1.5e19, 1)], 1.0),  # the mean of the squared norms; that of D is 0
    ('scaffold', {'scaffold_option': 1}, 2 * [(1e30, 3e8, 1)], 1e-30),  # the sum of the variates
  ],
)
def test_a_mean_that_overflows_leaves_the_server_as_it_is(name, arguments, clients, learning_rate):
  federation = problems.Federation(build(name, arguments, start=0.0, learning_rate=learning_rate))
  state = federation.state
  federation.play(problems.payloads(clients, uniform=True, num_steps=[1] * len(clients)))
  assert federation.metrics['client_work']['num_clients'] == len(clients)
  assert federation.metrics['finalizer'] == {'update_norm': 0.0, 'skipped': 1}
  for a, b in zip(tff.structure.flatten(federation.state), tff.structure.flatten(state), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_client_is_left_out_for_any_part_of_its_report():
  """FedExP's squared norm of 3e19, and the end of Ditto's own model, while what both descend is finite."""
  fedexp = problems.Federation(build('fedexp', start=0.0, learning_rate=0.25))
  x = fedexp.play(problems.payloads([(1.0, 1.2e20, 1), problems.Q[1]], uniform=True, num_steps=[1, 1]))
  assert (x, fedexp.metrics['client_work']['non_finite']) == (3.0, 1)
  ditto = problems.Federation(build('ditto', {'personal_strength': 3e38}, start=0.0, learning_rate=0.25))
  x = ditto.play(problems.payloads(problems.Q, uniform=True))
  assert (x, ditto.metrics['client_work']['non_finite']) == (0.0, 1)
  assert (ditto.kept(0), ditto.kept(1)) == ([0.0], [0.0])


@pytest.mark.parametrize(('name', 'arguments'), [*((name, {}) for name in ON_QUADRATICS), ('fedexp', EXP_OF_SCAFFOLD)])
def test_weights_that_are_set_are_those_that_one_gets(name, arguments):
  """FedEM's too: test_fedem.py."""
  process, weights = on_any_clients(name, arguments), tff.learning.models.ModelWeights((np.float32(1.5),), ())
  later = problems.Federation(process)
  for _ in range(2):
    later.play(problems.payloads(problems.W))
  assert problems.weight_of(process, later.state) != 1.5
  assert problems.weight_of(process, process.set_model_weights(later.state, weights)) == 1.5

  federation = problems.Federation(process)
  federation.state = process.set_model_weights(federation.state, weights)
  x = federation.play(problems.payloads(problems.W))
  expected = problems.run(on_any_clients(name, arguments, start=1.5), 1, problems.W)[0]
  assert x == pytest.approx(expected, rel=1e-6)


@every_method
def test_hyperparameters_are_values_in_the_state(name):
  """A process whose values are set is one that was built with them: sweeps share it."""
  numbers = {k: v for k, v in choose(ALGORITHMS[name], name, {}).flat().items() if type(v) is float}
  other = made(name, {key: value * 0.75 for key, value in numbers.items()})
  process, expected = build(name, start=2.0, learning_rate=0.5), problems.process(other, start=2.0, learning_rate=0.5)
  federation = problems.Federation(process)
  hparams = process.get_hparams(federation.state)
  hparams['client_work'].update(other.client.hparams)
  hparams['finalizer'].update(other.server.hparams)
  federation.state = process.set_hparams(federation.state, hparams)
  xs = [federation.play(problems.payloads(problems.Q)) for _ in range(3)]
  assert xs == pytest.approx(problems.run(expected, 3, problems.Q), rel=1e-6)


@every_method
def test_its_flags_have_fields_and_its_record_is_complete(name):
  config = Config.from_flags({'algorithm': name})
  algorithm = config.algorithm.build()
  assert algorithm.name == name
  assert algorithm.title
  assert (config.weighting, config.straggler_policy) == (algorithm.policy.weighting, algorithm.policy.stragglers)


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


def test_a_communication_without_local_steps_measures_no_inexactness():
  """FedDANE's clients first send their gradients; what they solve, and how well, is known after the second time."""
  process = problems.process(ALGORITHMS['feddane'](), start=0.0, learning_rate=0.25, measure_gamma=True)
  assert 'gamma' not in str(process._gather.next.type_signature.result)
  federation, plain = problems.Federation(process), problems.Federation(build('feddane', start=0.0, learning_rate=0.25))
  assert federation.play(problems.payloads(problems.Q)) == plain.play(problems.payloads(problems.Q))
  counts = federation.metrics['client_work']
  # h_k has the curvature a_k: a step of 0.25 leaves 1 - a_k / 4 of its gradient, two leave the square.
  assert float(counts['gamma']) == pytest.approx(0.75**2 + 0.25**2)
  assert float(counts['gamma_max']) == pytest.approx(0.75**2)
