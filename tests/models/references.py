# SPDX-License-Identifier: Apache-2.0
"""Networks of Keras's layers with the weights of a model, to compare the model with."""

import numpy as np
import tensorflow as tf


def random_weights(model, seed=0):
  """Returns weights for a model, of which no bias is 0, and no scale and no variance is 1."""
  rng = np.random.default_rng(seed)
  moved = [w + rng.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else w for w in model.initial_weights]
  return tuple(tf.constant(w, tf.float32) for w in moved)


def images(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_same(model, keras_model, layers, x, *, training=False):
  """Asserts that a Keras model with the same weights has the same logits, and its cross-entropy the same gradient.

  Args:
    model: The suite's.
    keras_model: A Keras model.
    layers: Its layers, in the order of the model's weights.
    x: A batch.
    training: Whether to compare what a local step sees.
  """
  weights = random_weights(model)
  rest = [w.numpy() for w in weights]
  for layer in layers:
    size = len(layer.get_weights())
    layer.set_weights(rest[:size])
    rest = rest[size:]
  assert not rest
  labels = np.arange(len(x)) % keras_model.output_shape[-1]

  def loss(logits):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))

  with tf.GradientTape() as tape:
    tape.watch(weights)
    logits = model.train_logits(weights, x, tf.ones(len(x)), None)[0] if training else model.logits(weights, x)
    ours = loss(logits)
  gradients = tape.gradient(ours, weights)
  with tf.GradientTape() as tape:
    expected = keras_model(x, training=training)
    theirs = loss(expected)
  np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
  variables = keras_model.trainable_weights
  wanted = {id(v): g for v, g in zip(variables, tape.gradient(theirs, variables), strict=True)}
  for gradient, variable in zip(gradients, [v for layer in layers for v in layer.weights], strict=True):
    if id(variable) in wanted:
      np.testing.assert_allclose(gradient, wanted.pop(id(variable)), atol=1e-5, rtol=1e-4)
  assert not wanted
