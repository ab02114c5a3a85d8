# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.algorithms import fedavg, fedprox
from fedprox_tff.federated.evaluation.dissimilarity import build_dissimilarity
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.models import logistic
from tests import problems
from tests.federations import load


def of_quadratic(clients, x):
  """Returns the dissimilarity of clients (a, b, n) at x."""
  a, b = (np.concatenate([np.full(c[2], c[i], np.float32) for c in clients]) for i in (0, 1))
  offsets = np.cumsum([0, *(c[2] for c in clients)])
  return build_dissimilarity(local_model(problems.quadratic(0.0)), (a, b), offsets)([np.float32(x)])


def test_on_q():
  """At 0 the gradients are 0 and -12: G = -6, variance 36, B = sqrt(72) / 6."""
  assert of_quadratic(problems.Q, 0.0) == pytest.approx((36.0, math.sqrt(2)), rel=1e-6)


def test_on_w_masses_are_inside_the_mean_and_uniform_outside():
  """At 2 the gradients are 2 and -2 with n = 1 and 3: G = -1, variance (9 + 1) / 2, B^2 = (4 + 3 * 4) / 4."""
  assert of_quadratic(problems.W, 2.0) == pytest.approx((5.0, 2.0), rel=1e-6)


def test_like_clients_are_not_dissimilar():
  assert of_quadratic([(2.0, 1.0, 3), (2.0, 1.0, 7)], 5.0) == pytest.approx((0.0, 1.0), abs=1e-9)


def test_b_where_gradients_vanish():
  assert of_quadratic([(1.0, 4.0, 1), (3.0, 4.0, 2)], 4.0).b == 1.0  # all of them: the paper's convention
  assert of_quadratic([(1.0, 0.0, 1), (1.0, 4.0, 1)], 2.0).b == math.inf  # only their mean


def test_clients_without_examples_count_for_nothing():
  a, b = (np.array([c[i] for c in problems.Q], np.float32) for i in (0, 1))
  offsets = np.array([0, 0, 1, 1, 2, 2])
  model = local_model(problems.quadratic(0.0))
  assert build_dissimilarity(model, (a, b), offsets)([np.float32(0)]) == pytest.approx((36.0, math.sqrt(2)), rel=1e-6)


def test_on_digits_against_automatic_differentiation():
  dataset = load('digits', data_seed=0)
  model = logistic().build(dataset.task, seed=0)
  weights = tuple(tf.constant(w) for w in model.initial_weights)
  gradients = []
  for k in range(dataset.num_clients):
    x, y = dataset.train.client(k)
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model.logits(weights, x)))
    gradients.append(np.concatenate([np.ravel(g) for g in tape.gradient(loss, weights)]).astype(np.float64))
  gradients, sizes = np.array(gradients), dataset.train.sizes
  mean = np.average(gradients, axis=0, weights=sizes)
  variance = ((gradients - mean) ** 2).sum(axis=1).mean()
  b = math.sqrt(np.average((gradients**2).sum(axis=1), weights=sizes) / (mean**2).sum())
  measure = build_dissimilarity(local_model(model), dataset.train.examples._asdict(), dataset.train.offsets)
  assert measure(weights) == pytest.approx((variance, b), rel=1e-5)
  in_chunks = local_model(model._replace(chunk=3))  # of fewer examples than a client has
  measure = build_dissimilarity(in_chunks, dataset.train.examples._asdict(), dataset.train.offsets)
  assert measure(weights) == pytest.approx((variance, b), rel=1e-5)
  assert Evaluator(model, dataset.train.examples)(weights).loss > 1  # not at an optimum


@pytest.mark.parametrize(('steps', 'gamma'), [(1, 0.6), (2, 0.36)])
def test_gamma_on_q(steps, gamma):
  """mu = 1, lr = 0.1: client 2 has |1 - lr (a + mu)|^steps; client 1 stands at its minimum, which is exact."""
  process = problems.process(fedprox(mu=1.0), start=0.0, learning_rate=0.1, measure_gamma=True)
  _, metrics = process.next(process.initialize(), problems.payloads(problems.Q, num_steps=[steps, steps]))
  assert float(metrics['client_work']['gamma']) == pytest.approx(gamma, abs=1e-6)
  assert float(metrics['client_work']['gamma_max']) == pytest.approx(gamma, abs=1e-6)


def test_gamma_of_fedavg_is_of_the_plain_risk():
  process = problems.process(fedavg(), start=0.0, learning_rate=0.1, measure_gamma=True)
  _, metrics = process.next(process.initialize(), problems.payloads(problems.Q))
  assert float(metrics['client_work']['gamma']) == pytest.approx(0.7**2, abs=1e-6)


def test_gamma_leaves_out_who_is_left_out():
  """A dropped client has done no work, which would be gamma 1, and one that is not finite has none."""
  process = problems.process(fedprox(mu=1.0), start=1.0, learning_rate=0.1, measure_gamma=True)
  clients = [*problems.Q, (1.0, np.nan, 2)]
  _, metrics = process.next(process.initialize(), problems.payloads(clients, num_steps=[0, 2, 2]))
  assert int(metrics['client_work']['num_clients']) == 1
  assert float(metrics['client_work']['gamma']) == pytest.approx(0.36, abs=1e-6)
  assert float(metrics['client_work']['gamma_max']) == pytest.approx(0.36, abs=1e-6)
