# SPDX-License-Identifier: Apache-2.0
import tensorflow as tf

from fedprox_tff.core.task import Task
from fedprox_tff.models import vgg
from tests.models.references import assert_same, images

L = tf.keras.layers


def test_number_of_parameters():
  model = vgg().build(Task((32, 32, 3), 100), seed=0)
  assert sum(w.size for w in model.initial_weights) == 1_414_180


def test_it_is_that_of_keras():
  shape = (17, 8, 2)
  layers = []
  for channels in (32, 64, (128, 128), (256, 256)):
    for width in channels if isinstance(channels, tuple) else [channels]:
      layers.append(L.Conv2D(width, 3, padding='same', activation='relu'))
    layers.append(L.MaxPool2D(2, padding='same'))
  layers += [L.Flatten(), L.Dense(256, activation='relu'), L.Dense(5)]
  reference = tf.keras.Sequential(layers)
  reference.build((None, *shape))
  model = vgg().build(Task(shape, 5), seed=1)
  assert_same(model, reference, [layer for layer in layers if layer.weights], images(6, *shape))
