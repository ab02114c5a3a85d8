# SPDX-License-Identifier: Apache-2.0
"""Whole runs against the authors' update written out in numpy, in float64, with the same cohorts and batch orders."""

import numpy as np
import pytest
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedavg, fedprox
from fedprox_tff.federated.payloads import batch_order, client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import logistic
from fedprox_tff.training.cohort import sample_cohort
from tests.federations import load

ROUNDS, SEED, EPOCHS, BATCH, LEARNING_RATE = 4, 3, 5, 10, 0.03


@pytest.fixture(scope='module')
def dataset():
  return load('digits', data_seed=0)


def cohorts(dataset, policy):
  for round_num in range(1, ROUNDS + 1):
    yield (
      round_num,
      sample_cohort(
        dataset.train.sizes,
        seed=SEED,
        round_num=round_num,
        clients_per_round=8,
        epochs=EPOCHS,
        batch_size=BATCH,
        stragglers=0.5,
        straggler_policy=policy,
      ),
    )


def numpy_client(weights, examples, order, num_steps, mu):
  """w <- w - lr (gradient + mu (w - w^t)), with the softmax gradient written out."""
  kernel, bias = (w.copy() for w in weights)
  n = len(examples.y)
  steps_per_epoch = -(-n // BATCH)
  for i in range(num_steps):
    rows = order[i][: n - i % steps_per_epoch * BATCH]
    x, y = examples.x[rows].reshape(len(rows), -1).astype(np.float64), examples.y[rows]
    logits = x @ kernel.T + bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(rows)), y] -= 1
    p /= len(rows)
    kernel = kernel - LEARNING_RATE * (p.T @ x + mu * (kernel - weights[0]))
    bias = bias - LEARNING_RATE * (p.sum(axis=0) + mu * (bias - weights[1]))
  return kernel, bias


def numpy_run(dataset, model, mu, policy):
  weights = [w.astype(np.float64) for w in model.initial_weights]
  for round_num, participants in cohorts(dataset, policy):
    active = [p for p in participants if not p.dropped]
    results, masses = [], []
    for p in active:
      examples = dataset.train.client(p.client)
      order = batch_order(len(examples.y), num_epochs=EPOCHS, batch_size=BATCH, key=(SEED, round_num, p.client))
      results.append(numpy_client(weights, examples, order, p.num_steps, mu))
      masses.append(len(examples.y))
    weights = [np.average(w, axis=0, weights=masses) for w in zip(*results, strict=True)]
  return weights


def our_run(dataset, model, algorithm, policy):
  process = build_process(algorithm, model, client_optimizer=tff.learning.optimizers.build_sgdm(LEARNING_RATE))
  state = process.initialize()
  for round_num, participants in cohorts(dataset, policy):
    payloads = [
      client_payload(
        dataset.train.client(p.client)._asdict(),
        num_epochs=EPOCHS,
        batch_size=BATCH,
        key=(SEED, round_num, p.client),
        num_steps=p.num_steps,
        weight=p.weight,
      )
      for p in participants
    ]
    state, _ = process.next(state, payloads)
  return [np.asarray(w) for w in process.get_model_weights(state).trainable]


@pytest.mark.parametrize(
  ('algorithm', 'mu', 'policy'), [(fedavg(), 0.0, 'drop'), (fedprox(mu=1.0), 1.0, 'partial')], ids=['fedavg', 'fedprox']
)
def test_agrees_with_numpy(dataset, algorithm, mu, policy):
  model = logistic().build(dataset.task, seed=SEED)
  expected = numpy_run(dataset, model, mu, policy)
  moved = np.abs(expected[0] - model.initial_weights[0]).max()
  assert moved > 0.05
  for ours, theirs in zip(our_run(dataset, model, algorithm, policy), expected, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize('policy', ['drop', 'partial'])
def test_mu_zero_is_fedavg_bit_for_bit(dataset, policy):
  """Under stragglers too, when both keep or both drop their work."""
  model = logistic().build(dataset.task, seed=SEED)
  prox = our_run(dataset, model, fedprox(mu=0.0), policy)
  for a, b in zip(prox, our_run(dataset, model, fedavg(), policy), strict=True):
    np.testing.assert_array_equal(a, b)
