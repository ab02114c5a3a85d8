# SPDX-License-Identifier: Apache-2.0
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Task
from fedprox_tff.models import moon_cnn
from tests.models.references import assert_same, images

L = tf.keras.layers


@pytest.mark.parametrize(
  ('shape', 'convolutions', 'flat'),
  [((32, 32, 3), 5 * 5 * 3 * 6 + 6 + 5 * 5 * 6 * 16 + 16, 5 * 5 * 16),
   ((28, 28, 1), 5 * 5 * 1 * 6 + 6 + 5 * 5 * 6 * 16 + 16, 4 * 4 * 16)],
)  # fmt: skip
def test_number_of_parameters(shape, convolutions, flat):
  model = moon_cnn().build(Task(shape, 10), seed=0)
  dense = (flat + 1) * 120 + 121 * 84 + 85 * 84 + 85 * 256 + 257 * 10
  assert sum(w.size for w in model.initial_weights) == convolutions + dense
  assert convolutions + dense == {400: 92_626, 256: 75_046}[flat]


@pytest.mark.parametrize('shape', [(32, 32, 3), (17, 20, 2)])
def test_it_is_that_of_keras(shape):
  layers = []
  for channels in (6, 16):
    layers += [L.Conv2D(channels, 5, activation='relu'), L.MaxPool2D(2)]
  layers += [L.Flatten(), *(L.Dense(units, activation='relu') for units in (120, 84, 84)), L.Dense(256), L.Dense(4)]
  reference = tf.keras.Sequential(layers)
  reference.build((None, *shape))
  model = moon_cnn().build(Task(shape, 4), seed=1)
  assert_same(model, reference, [layer for layer in layers if layer.weights], images(5, *shape))


def test_images_too_small():
  with pytest.raises(ValueError, match='at least 16x16 pixels, not 15x28'):
    moon_cnn().build(Task((15, 28, 1), 10), seed=0)
  assert moon_cnn().build(Task((16, 16, 1), 10), seed=0).initial_weights[4].shape == (16, 120)
