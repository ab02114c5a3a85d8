# SPDX-License-Identifier: Apache-2.0
"""Any optimizer on either side; on the client's side compiled by XLA."""

import numpy as np
import pytest

from fedprox_tff.algorithms import fedprox
from fedprox_tff.config import optimizers
from fedprox_tff.core.errors import UserError
from fedprox_tff.core.task import Task
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import logistic

MODEL = logistic().build(Task((4,), 3), seed=0)
RNG = np.random.default_rng(0)
DATA = {'x': RNG.normal(size=(30, 4)).astype('f'), 'y': RNG.integers(0, 3, 30).astype('i')}


def norms(client, server, learning_rate=0.1, server_learning_rate=1.0, rounds=2):
  process = build_process(
    fedprox(mu=0.1),
    MODEL,
    client_optimizer=optimizers.parse('client_optimizer', client).build().build(learning_rate),
    server_optimizer=optimizers.parse('server_optimizer', server).build().build(server_learning_rate),
  )
  state, result = process.initialize(), []
  for round_num in range(rounds):
    state, metrics = process.next(state, [client_payload(DATA, num_epochs=2, batch_size=10, key=(round_num,))])
    assert metrics['finalizer']['skipped'] == 0
    result.append(float(metrics['finalizer']['update_norm']))
  return result


@pytest.mark.parametrize('name', optimizers.OPTIMIZERS)
def test_on_the_clients_side(name):
  assert 1e-3 < norms(name, 'sgd')[0] < 10


@pytest.mark.parametrize('name', [*sorted(optimizers.OPTIMIZERS.keys() - {'sgd'}), 'sgd:momentum=0.9'])
def test_on_the_servers_side(name):
  """Round 1 measures the clients alone; a later one starts from where the server went."""
  ours, plain = norms('sgd', name, rounds=3), norms('sgd', 'sgd', rounds=3)
  assert ours[0] == pytest.approx(plain[0])
  assert ours[2] != pytest.approx(plain[2])


def test_hyperparameters_reach_the_clients_optimizer():
  assert norms('sgd:momentum=0.9', 'sgd') != pytest.approx(norms('sgd', 'sgd'))


@pytest.mark.parametrize(
  ('text', 'allowed'),
  [
    ('sgdm', 'one of sgd, adagrad, adam'),
    ('adam:beta=1', 'keys from beta_1, beta_2, epsilon'),
    ('adam:beta_1=high', 'adam:beta_1= and a number'),
    ('', 'one of'),
    ('adam:beta_1=2', 'adam:beta_1= and a number from 0 to 1 is needed'),
  ],
)
def test_a_typo_is_answered_with_what_is_allowed(text, allowed):
  with pytest.raises(UserError, match=allowed):
    optimizers.parse('client_optimizer', text)
