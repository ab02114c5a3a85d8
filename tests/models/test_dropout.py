# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.models.base import Model
from fedprox_tff.models.dropout import dropout, with_dropout

KEY = tf.constant([3, 5])


def test_a_share_is_dropped_and_the_rest_is_larger():
  y = dropout(tf.fill([100, 100], 3.0), 0.2, KEY, 0).numpy()
  assert np.abs((y == 0).mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 10_000)
  np.testing.assert_allclose(y[y != 0], 3 / 0.8, rtol=1e-6)


def test_what_is_dropped_follows_from_the_key_and_the_layer():
  ones = tf.ones([20, 20])
  first, again, other_key, other_layer = (
    dropout(ones, 0.5, *which).numpy() for which in ((KEY, 0), (KEY, 0), (KEY + 1, 0), (KEY, 1))
  )
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other_key)
  assert not np.array_equal(first, other_layer)


def test_xla_drops_the_same():
  def drop(x, key):
    return dropout(x, 0.3, key, 2)

  x = tf.reshape(tf.range(1.0, 31.0), [5, 6])
  np.testing.assert_allclose(tf.function(drop, jit_compile=True)(x, KEY), drop(x, KEY), rtol=1e-6)


@pytest.mark.parametrize(('rate', 'expected'), [(0.0, 1), (1.0, 0)])
def test_nothing_and_everything(rate, expected):
  x = tf.ones([4, 4])
  with tf.GradientTape() as tape:
    tape.watch(x)
    y = dropout(x, rate, KEY, 0)
  np.testing.assert_array_equal(y, np.full((4, 4), expected))
  np.testing.assert_array_equal(tape.gradient(y, x), np.full((4, 4), expected))


def scaling(drop):
  """Returns the model w x, of which each number may drop."""

  def logits(weights, x):
    return drop(weights[0] * x, 0)

  return Model('scaling', (np.float32([1, 2, 3]),), logits, logits, (3,), jit_compile=False)


def test_gradients_of_one_step_lose_the_same_units():
  model = with_dropout(0.5, scaling)
  assert model.draws
  x, mask = np.ones((8, 3), np.float32), tf.ones(8)

  def dropped(weight, key):
    w = tf.fill([3], weight)
    with tf.GradientTape() as tape:
      tape.watch(w)
      logits, statistics = model.train_logits((w,), x, mask, key)
    assert not statistics
    return tape.gradient(logits, w).numpy(), logits.numpy() == 0

  (gradient, units), (other_gradient, other_units) = (dropped(weight, KEY) for weight in (1.0, 7.0))
  np.testing.assert_array_equal(units, other_units)
  np.testing.assert_allclose(gradient, 2 * (~units).sum(axis=0))
  np.testing.assert_array_equal(gradient, other_gradient)
  assert 0 < units.sum() < 24
  assert not np.array_equal(units, dropped(1.0, KEY + 1)[1])


def test_evaluation_drops_nothing():
  model = with_dropout(0.5, scaling)
  for logits in (model.logits, model.step_logits):
    np.testing.assert_array_equal(logits(model.initial_weights, np.float32([[1, 1, 1]])), [[1, 2, 3]])


def test_a_rate_of_zero_draws_nothing():
  model = with_dropout(0.0, scaling)
  assert not model.draws
  assert model.train_logits is None
