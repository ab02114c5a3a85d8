# SPDX-License-Identifier: Apache-2.0
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Task
from fedprox_tff.models import fedbn_cnn
from tests.models.references import assert_same, images

L = tf.keras.layers


def test_number_of_parameters():
  """By hand, from the authors' layers: kernels and biases, then gamma and beta, then the running statistics."""
  convolutions = (75 * 64 + 64) + (1600 * 64 + 64) + (1600 * 128 + 128)
  dense = (6272 * 2048 + 2048) + (2048 * 512 + 512) + (512 * 10 + 10)
  channels = 64 + 64 + 128 + 2048 + 512
  assert convolutions + dense + 2 * channels == 14_219_210
  model = fedbn_cnn().build(Task((28, 28, 3), 10), seed=0)
  assert sum(w.size for w in model.initial_weights) == 14_219_210 + 2 * channels
  assert sum(w.size for w, is_norm in zip(model.initial_weights, model.normalisation, strict=True) if is_norm) == (
    4 * channels
  )


@pytest.mark.parametrize('training', [False, True])
def test_it_is_that_of_keras(training):
  shape = (9, 8, 2)
  layers = []
  for i, channels in enumerate((64, 64, 128)):
    layers += [L.Conv2D(channels, 5, padding='same'), L.BatchNormalization(epsilon=1e-5), L.ReLU()]
    layers += [L.MaxPool2D(2)] if i < 2 else []
  layers.append(L.Flatten())
  for units in (2048, 512):
    layers += [L.Dense(units), L.BatchNormalization(epsilon=1e-5), L.ReLU()]
  layers.append(L.Dense(4))
  reference = tf.keras.Sequential(layers)
  reference.build((None, *shape))
  model = fedbn_cnn().build(Task(shape, 4), seed=1)
  assert_same(model, reference, [layer for layer in layers if layer.weights], images(6, *shape), training=training)


def test_images_too_small():
  with pytest.raises(ValueError, match='at least 4x4 pixels, not 3x8'):
    fedbn_cnn().build(Task((3, 8, 1), 10), seed=0)
