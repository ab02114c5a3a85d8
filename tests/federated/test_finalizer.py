# SPDX-License-Identifier: Apache-2.0
"""The server keeps its last finite state: clients' means are finite here, and what the step would make of them is not.

One client with the loss x^2 / 2 and one step of 0.5: a report of x / 2, which is 0 where the client is at its optimum.
"""

import math

import numpy as np
import pytest
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.config import optimizers
from fedprox_tff.federated import runtimes
from tests import problems


def play(name, arguments, start, server=None, server_learning_rate=1.0):
  """Plays a round; returns the federation after it, and the numbers of the state before it."""
  server = server and optimizers.parse('server_optimizer', server).build().build(server_learning_rate)
  algorithm = ALGORITHMS[name](**arguments)
  process = problems.process(algorithm, start=start, learning_rate=0.5, server_optimizer=server)
  federation = problems.Federation(process)
  before = tff.structure.flatten(federation.state)
  federation.play(problems.payloads([(1.0, 0.0, 1)], num_steps=[1]))
  return federation, before


CASES = [
  ('fedavg', {}, 0.0, 'adam:epsilon=0', 0.1),  # 0 / 0
  ('fedadam', {'tau': 0.0}, 0.0, None, None),
  ('fedavg', {}, 8.0, 'sgd', 3e38),  # the weights overflow
  ('fedavg', {}, 2.0, 'sgd', math.inf),
  ('fedadagrad', {'tau': 0.0}, 0.0, None, None),
  ('fedavgm', {'server_learning_rate': 3e38}, 8.0, None, None),
  ('fedgm', {'server_learning_rate': 3e38}, 800.0, None, None),
  ('fedexp', {'epsilon': 0.0}, 0.0, None, None),
]


@pytest.mark.parametrize(
  ('runtime', 'case'), [*(('in_process', case) for case in CASES), *(('worker', case) for case in CASES[:2])]
)
def test_a_step_to_what_is_not_finite_is_not_taken(runtime, case):
  with runtimes.use(runtime):
    federation, before = play(*case)
  counts = {'num_steps': 1, 'non_finite': 0, 'num_clients': 1, 'num_gradients': 1}
  num_floats = 3 if case[0] == 'fedexp' else 2  # x and the update, and FedExP's norm
  assert federation.metrics['client_work'] == counts | {'num_floats': num_floats}
  assert federation.metrics['finalizer'] == {'update_norm': 0.0, 'skipped': 1}
  assert problems.trained(federation.state) == case[2]
  for ours, old in zip(tff.structure.flatten(federation.state), before, strict=True):
    np.testing.assert_array_equal(ours, old)


def test_what_the_server_keeps_stays_finite_too():
  """FedAdagrad's sum of squares overflows in round 2, where the weights, divided by inf, would just stay."""
  process = problems.process(ALGORITHMS['fedadagrad'](), start=3e19, learning_rate=0.5)
  federation = problems.Federation(process)
  for skipped in (0, 1):
    before = tff.structure.flatten(federation.state)
    federation.play(problems.payloads([(1.0, 0.0, 1)], num_steps=[1]))
    assert federation.metrics['finalizer']['skipped'] == skipped
  for ours, old in zip(tff.structure.flatten(federation.state), before, strict=True):
    np.testing.assert_array_equal(ours, old)


@pytest.mark.parametrize(('server', 'rate'), [('adam', 0.1), ('sgd:momentum=0.9', 1.0), ('yogi', 0.1)])
def test_a_finite_step_is_taken(server, rate):
  federation, _ = play('fedavg', {}, 2.0, server, rate)
  assert federation.metrics['finalizer'] == {'update_norm': 1.0, 'skipped': 0}
  assert problems.trained(federation.state) < 2.0
