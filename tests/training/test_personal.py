# SPDX-License-Identifier: Apache-2.0
"""Clients' own models that are adapted when they are evaluated, as a run has them, beside the same written in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.algorithms import ditto, fedavg_ft
from fedprox_tff.config.record import Config
from fedprox_tff.datasets.base import Examples, FederatedDataset, split_from_clients
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import batch_order
from fedprox_tff.training.builder import Builder
from fedprox_tff.training.personal import PersonalEvaluators

TRAINED, TESTED = (6, 0, 9, 1), (4, 3, 0, 2)  # examples of each of four clients
CLASSES, FEATURES = 3, 5
RATE, BATCH = 0.5, 4
FLAGS = {'dataset': 'digits', 'clients_per_round': 2, 'batch_size': BATCH, 'learning_rate': RATE}


def _federation():
  rng = np.random.default_rng(0)
  splits = [
    split_from_clients(
      [
        Examples(rng.normal(size=(n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n).astype(np.int32))
        for n in sizes
      ]
    )
    for sizes in (TRAINED, TESTED)
  ]
  return FederatedDataset('made', tuple('abcd'), *splits, CLASSES, 'made')


FEDERATION = _federation()


def weights_of(seed):
  rng = np.random.default_rng([7, seed])
  return rng.normal(size=(CLASSES, FEATURES)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32)


def probabilities(weights, x):
  kernel, bias = weights
  logits = x.astype(np.float64) @ kernel.T + bias
  odds = np.exp(logits - logits.max(axis=1, keepdims=True))
  return odds / odds.sum(axis=1, keepdims=True)


def adapted(weights, client, *, seed, epochs=None, rate=RATE):
  """Returns a client's model after some epochs of SGD on its training examples, or one step; in float64."""
  x, y = FEDERATION.train.client(client)
  order = batch_order(len(y), num_epochs=epochs or 1, batch_size=BATCH, key=(seed, 0, client))
  steps_per_epoch = -(-len(y) // BATCH)
  for i, padded in enumerate(order if epochs else order[:1]):
    rows = padded[: len(y) - i % steps_per_epoch * BATCH]  # the last batch may be short
    residual = (probabilities(weights, x[rows]) - np.eye(CLASSES)[y[rows]]) / len(rows)
    weights = weights[0] - rate * residual.T @ x[rows], weights[1] - rate * residual.sum(axis=0)
  return weights


def judged(models):
  """Returns the mean loss and accuracy over test examples, each put to its own client's model."""
  losses, right = [], []
  for client, weights in enumerate(models):
    x, y = FEDERATION.test.client(client)
    share = probabilities(weights, x)
    losses += (-np.log(share[np.arange(len(y)), y])).tolist()
    right += (share.argmax(axis=1) == y).tolist()
  return np.mean(losses), np.mean(right)


def evaluator(builder, **flags):
  return builder.build(Config.from_flags(FLAGS | flags), FEDERATION).evaluate_personal


METHODS = [
  ({'algorithm': 'fedavg_ft', 'adaptation_epochs': 3}, {'epochs': 3}),
  ({'algorithm': 'per_fedavg', 'personal_learning_rate': 0.75}, {'rate': 0.75}),
]


@pytest.mark.parametrize(('flags', 'expected'), METHODS)
def test_all_clients_adapt_whether_they_have_taken_part_or_not(flags, expected):
  """Client 1 has no training examples, and stays where it is; client 2 has none to be judged by."""
  with runtimes.use('in_process'):
    builder, results = Builder(), []
    for seed in (0, 1):
      evaluate = evaluator(builder, seed=seed, **flags)
      result = evaluate(weights_of(0), {})
      loss, accuracy = judged([adapted(weights_of(0), client, seed=seed, **expected) for client in range(4)])
      assert (result.loss, result.accuracy) == pytest.approx((loss, accuracy), rel=1e-5)
      assert evaluate(weights_of(0), {}) == result  # the same bits, whatever was evaluated before
      other = evaluate(weights_of(1), {})
      assert evaluate(weights_of(0), {}) == result != other
      results.append(result)
    assert results[0] != results[1]  # of one start, the order of the batches is another
    assert len(builder._personal._adaptations) == 1  # and yet they share what is compiled


def test_learning_rates_are_values_that_runs_share_a_graph_with():
  with runtimes.use('in_process'):
    builder = Builder()
    for rate in (0.5, 0.125):
      result = evaluator(builder, algorithm='fedavg_ft', learning_rate=rate)(weights_of(0), {})
      models = [adapted(weights_of(0), client, seed=0, epochs=1, rate=rate) for client in range(4)]
      assert result.loss == pytest.approx(judged(models)[0], rel=1e-5)
    assert len(builder._personal._adaptations) == 1


def test_without_epochs_clients_are_served_by_the_servers_weights():
  with runtimes.use('in_process'):
    result = evaluator(Builder(), algorithm='fedavg_ft', adaptation_epochs=0)(weights_of(0), {})
  assert (result.loss, result.accuracy) == pytest.approx(judged([weights_of(0)] * 4), rel=1e-6)


def test_a_model_that_a_client_keeps_is_what_it_adapts():
  """Ditto's, fine-tuned: clients 0 and 1 have taken part, 1 has nothing to adapt by, and the others start at w^t."""
  base = ditto()
  tuned = base._replace(client=base.client._replace(adapt=fedavg_ft().client.adapt))
  states = {0: weights_of(1), 1: weights_of(2)}
  with runtimes.use('in_process'):
    config = Config.from_flags(FLAGS | {'algorithm': 'ditto'})
    built = Builder()
    experiment = built.build(config, FEDERATION)
    model = config.model.build().build(FEDERATION.task, seed=0)
    evaluate = PersonalEvaluators().of(
      config,
      tuned,
      model,
      config.client_optimizer.build().build(RATE),
      structure='made up',
      hparams=experiment.process.get_hparams(experiment.initial_state)['client_work'],
      trained=(experiment.train_examples, FEDERATION.train.offsets),
      tested=FEDERATION.test,
      batch_size=BATCH,
    )
    result = evaluate(weights_of(0), states)
  starts = [states.get(client, weights_of(0)) for client in range(4)]
  models = [adapted(start, client, seed=0, epochs=1) for client, start in enumerate(starts)]
  assert (result.loss, result.accuracy) == pytest.approx(judged(models), rel=1e-5)
  swapped = [adapted(weights_of(0), client, seed=0, epochs=1) for client in range(4)]
  assert abs(judged(swapped)[0] - result.loss) > 1e-3


def test_other_methods_adapt_nothing():
  with runtimes.use('in_process'):
    builder = Builder()
    assert evaluator(builder, algorithm='fedavg') is None
    kept = evaluator(builder, algorithm='ditto')(weights_of(0), {0: tuple(map(tf.constant, weights_of(1)))})
  expected = judged([weights_of(1), *[weights_of(0)] * 3])
  assert (kept.loss, kept.accuracy) == pytest.approx(expected, rel=1e-6)
