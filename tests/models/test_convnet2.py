# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Task
from fedprox_tff.models import convnet2
from fedprox_tff.models.dropout import dropout
from tests.models.references import assert_same, images, random_weights

L = tf.keras.layers
KEY = tf.constant([3, 5])


@pytest.mark.parametrize(
  ('normalisation', 'learning', 'statistics'), [('none', 6_603_710, 0), ('batch', 6_603_902, 192)]
)
def test_number_of_parameters(normalisation, learning, statistics):
  """FederatedScope's, at 28x28 with 62 classes."""
  model = convnet2(normalisation=normalisation).build(Task((28, 28, 1), 62), seed=0)
  assert sum(w.size for w in model.initial_weights) == learning + statistics


def reference(shape, normalisation, hidden_units, classes):
  layers = []
  for channels in (32, 64):
    layers += [L.Conv2D(channels, 5, padding='same')]
    layers += [L.BatchNormalization(epsilon=1e-5)] if normalisation == 'batch' else []
    layers += [L.ReLU(), L.MaxPool2D(2)]
  layers += [L.Flatten(), L.Dense(hidden_units, activation='relu'), L.Dense(classes)]
  model = tf.keras.Sequential(layers)
  model.build((None, *shape))
  return model, [layer for layer in layers if layer.weights]


@pytest.mark.parametrize(('normalisation', 'training'), [('none', False), ('batch', False), ('batch', True)])
def test_it_is_that_of_keras(normalisation, training):
  shape = (9, 8, 2)
  model = convnet2(hidden_units=7, dropout=0.0, normalisation=normalisation).build(Task(shape, 5), seed=1)
  assert not model.draws
  assert_same(model, *reference(shape, normalisation, 7, 5), images(6, *shape), training=training)


@pytest.mark.parametrize('normalisation', ['none', 'batch'])
def test_units_drop_on_the_way_into_both_dense_layers(normalisation):
  """With convolutions that see nothing: what is flattened is then 1 everywhere, by the second one's bias or beta."""
  model = convnet2(hidden_units=50, dropout=0.4, normalisation=normalisation).build(Task((4, 4, 1), 3), seed=0)
  assert model.draws
  *convolutions, kernel_3, bias_3, kernel_4, bias_4 = random_weights(model)
  size = len(convolutions) // 2
  second = [tf.zeros([5, 5, 32, 64]), tf.ones([64])]
  if normalisation == 'batch':
    second += [tf.ones([64]), tf.ones([64]), *convolutions[-2:]]
  weights = (*convolutions[:size], *second, kernel_3, bias_3, kernel_4, bias_4)
  logits, _ = model.train_logits(weights, images(6, 4, 4, 1), tf.ones(6), KEY)
  hidden = tf.nn.relu(dropout(tf.ones([6, 64]), 0.4, KEY, 0) @ kernel_3 + bias_3)
  np.testing.assert_allclose(logits, dropout(hidden, 0.4, KEY, 1) @ kernel_4 + bias_4, rtol=1e-4, atol=1e-5)


def test_images_too_small():
  with pytest.raises(ValueError, match='at least 4x4 pixels, not 3x8'):
    convnet2().build(Task((3, 8, 1), 10), seed=0)
