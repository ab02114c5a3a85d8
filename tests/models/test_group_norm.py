# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.models.group_norm import GroupNorm, group_norm, with_group_norm


def test_a_group_has_one_mean_and_one_variance():
  """Group 0 has the values 1, 3, 5, 7 (mean 4, variance 5), group 1 0, 0, 0, 4 (mean 1, variance 3)."""
  x = np.float32([[1, 3, 0, 0], [5, 7, 0, 4]]).reshape(1, 1, 2, 4)
  gamma, beta = np.float32([1, 2, 3, 4]), np.float32([0, 10, 20, 30])
  y = group_norm(tf.constant(x), gamma, beta, 2)
  a, b = np.sqrt(5 + 1e-5), np.sqrt(3 + 1e-5)
  expected = [[-3 / a, 10 - 2 / a, 20 - 3 / b, 30 - 4 / b], [1 / a, 10 + 6 / a, 20 - 3 / b, 30 + 12 / b]]
  np.testing.assert_allclose(y[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize('groups', [1, 2, 3, 6])
def test_the_gradient_is_that_of_the_formula(groups):
  rng = np.random.default_rng(0)
  x = tf.constant(rng.normal(2, 3, (4, 3, 5, 6)), tf.float64)
  gamma, beta = (tf.constant(rng.normal(size=6)) for _ in range(2))
  weights = tf.constant(rng.normal(size=x.shape))

  def formula(x, gamma, beta):
    parts = tf.reshape(x, [4, 15, groups, 6 // groups])
    mean, variance = tf.nn.moments(parts, [1, 3], keepdims=True)
    return tf.reshape((parts - mean) / tf.sqrt(variance + 1e-5), x.shape) * gamma + beta

  def value_and_gradients(normalise):
    with tf.GradientTape() as tape:
      tape.watch([x, gamma, beta])
      y = normalise(x, gamma, beta)
    return y, *tape.gradient(y, [x, gamma, beta], output_gradients=weights)

  ours = value_and_gradients(lambda *args: group_norm(*args, groups))
  for a, b in zip(ours, value_and_gradients(formula), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def normaliser(channels, groups):
  """Returns the model that only normalises its input."""
  parts = [np.float32([5]), GroupNorm(channels, groups)]
  return with_group_norm(
    'normaliser', parts, lambda parts, x: parts[1](x) * parts[0], (1, 1, channels), jit_compile=False
  )


def test_local_steps_and_evaluation_see_the_same():
  model = normaliser(2, 1)
  assert model.train_logits is None
  assert model.normalisation == (False, True, True)
  y = model.logits(model.initial_weights, np.float32([[3, 5], [7, 7]]).reshape(2, 1, 1, 2))
  np.testing.assert_allclose(tf.reshape(y, [2, 2]), [[-5, 5], [0, 0]], atol=1e-4)


def test_channels_that_cannot_be_divided():
  with pytest.raises(ValueError, match='4 channels of normaliser cannot be divided into 3 groups'):
    normaliser(4, 3)
