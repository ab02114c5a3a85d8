# SPDX-License-Identifier: Apache-2.0
"""Losses and right answers where an example has one label, or one at each of its places."""

import math

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.scores import losses_of, num_correct
from fedprox_tff.models.base import Model

LOG = np.log(np.float32([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], [[0.25, 0.25, 0.5], [0.6, 0.2, 0.2]]]))
LABELS = np.int32([[0, 0], [2, -1]])  # of the last example the second place is padding


def test_the_loss_of_an_example_is_the_sum_over_its_labels():
  losses, counts = losses_of(tf.constant(LOG), tf.constant(LABELS))
  np.testing.assert_allclose(losses, [math.log(2) + math.log(8), math.log(2)], rtol=1e-6)
  np.testing.assert_array_equal(counts, [2, 1])
  np.testing.assert_array_equal(num_correct(tf.constant(LOG), tf.constant(LABELS)), [1, 1])


def test_one_label_an_example():
  losses, counts = losses_of(tf.constant(LOG[:, 0]), tf.constant([1, 2]))
  np.testing.assert_allclose(losses, [math.log(4), math.log(2)], rtol=1e-6)
  assert counts is None
  np.testing.assert_array_equal(num_correct(tf.constant(LOG[:, 0]), tf.constant([1, 2])), [0, 1])


def test_of_the_models_of_a_mixture():
  two = tf.stack([LOG, LOG[::-1]], axis=1)  # [batch, M, length, classes]
  losses, counts = losses_of(two, tf.constant(LABELS))
  np.testing.assert_allclose(losses[:, 0], [math.log(16), math.log(2)], rtol=1e-6)
  np.testing.assert_allclose(losses[:, 1], [math.log(4) - math.log(0.6), math.log(4)], rtol=1e-6)
  np.testing.assert_array_equal(counts, [2, 1])
  np.testing.assert_array_equal(num_correct(two, tf.constant(LABELS)), [[1, 1], [1, 0]])
  np.testing.assert_array_equal(num_correct(two[:, :, 0], tf.constant([0, 2])), [[1, 0], [1, 0]])
  one_label = losses_of(two[:, :, 0], tf.constant([0, 2])).losses
  np.testing.assert_allclose(one_label, np.log([[2, 4], [2, 4]]), rtol=1e-6)


def by_place(length, num_classes):
  """Returns the model whose logits at a place are its x times a row of weights."""

  def logits(weights, x):
    return x[:, :, tf.newaxis] * weights[0]

  initial = (np.float32([0.5, -0.25, 0.125])[:num_classes],)
  return Model('by_place', initial, logits, logits, (length,), jit_compile=False, label_shape=(length,))


def test_a_batchs_gradient_is_the_mean_over_the_labels_of_its_examples():
  """Of four places in two examples three have labels; a third example is padding of the batch."""
  x = np.float32([[1, 2], [3, 4], [9, 9]])
  y = np.int32([[0, 2], [1, -1], [1, 1]])
  model = by_place(2, 3)
  weights = tuple(map(tf.constant, model.initial_weights))
  expected = np.zeros(3)
  for x_i, y_i in ((1, 0), (2, 2), (3, 1)):
    p = np.exp(x_i * model.initial_weights[0].astype(np.float64))
    expected += x_i * (p / p.sum() - np.eye(3)[y_i]) / 3
  local = local_model(model)
  batch = {'x': tf.constant(x), 'y': tf.constant(y)}
  np.testing.assert_allclose(local.build_step()(weights, (), batch, tf.constant(2)).gradient[0], expected, rtol=1e-5)
  np.testing.assert_allclose(local.build_gradient()(weights, (), batch, tf.constant(2))[0], expected, rtol=1e-5)
  assert float(local.num_labels(batch, tf.constant(2))) == 3
  np.testing.assert_allclose(local.losses(weights, (), batch)[1, 0], _loss(3, 1, model), rtol=1e-6)


def _loss(x, label, model):
  z = x * model.initial_weights[0].astype(np.float64)
  return math.log(np.exp(z).sum()) - z[label]


@pytest.mark.parametrize('chunk', [1, 2, 1024])
def test_evaluation_is_the_mean_over_labels(chunk):
  """The logits of 1 are 0.5, -0.25 and 0.125, those of -1 the other way round: classes 0 and 1 are the largest."""
  model = by_place(2, 3)._replace(chunk=chunk)
  examples = Examples(np.float32([[1, -1], [1, 1], [-1, 1]]), np.int32([[0, 1], [0, -1], [0, 0]]))
  result = Evaluator(model, examples, np.array([0, 1, 3]))(model.initial_weights)
  assert result.accuracy == 4 / 5
  assert result.accuracy_p10 == pytest.approx(2 / 3 + 0.1 / 3, rel=1e-12)  # clients of 2 / 2 and 2 / 3
  pairs = [(1, 0), (-1, 1), (1, 0), (-1, 0), (1, 0)]
  assert result.loss == pytest.approx(sum(_loss(x, y, model) for x, y in pairs) / 5, rel=1e-6)
