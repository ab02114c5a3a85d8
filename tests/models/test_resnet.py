# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Task
from fedprox_tff.models import resnet18, resnet_cifar
from fedprox_tff.models.he_normal import he_normal
from fedprox_tff.models.resnet import residual_network
from tests.models.references import assert_same, images

L = tf.keras.layers


@pytest.mark.parametrize(
  ('architecture', 'number'),
  [
    (resnet_cifar(depth=8), 83_892),
    (resnet_cifar(depth=20), 278_324),
    (resnet_cifar(depth=20, normalisation='batch'), 278_324 + 2 * (7 * 16 + 7 * 32 + 7 * 64)),
    (resnet18(), 11_220_132),
    (resnet18(normalisation='batch'), 11_220_132 + 2 * (5 * 64 + 5 * 128 + 5 * 256 + 5 * 512)),
  ],
  ids=('8', '20', '20-batch', '18', '18-batch'),
)
def test_number_of_parameters(architecture, number):
  """With 100 classes; with batch normalisation also its running statistics, two for each channel."""
  model = architecture.build(Task((32, 32, 3), 100), seed=0)
  assert sum(w.size for w in model.initial_weights) == number


@pytest.mark.parametrize('depth', [8, 14, 56])
def test_the_depth_counts_layers_with_weights(depth):
  architecture = resnet_cifar(depth=depth)
  weights = architecture.build(Task((8, 8, 1), 10), seed=0).initial_weights
  shortcuts = sum(w.ndim == 4 and w.shape[0] == 1 for w in weights)
  assert sum(w.ndim > 1 for w in weights) - shortcuts == depth
  assert architecture.title == f'ResNet-{depth}'


def reference(shape, widths, norm):
  """Returns the network with two blocks a stage, of Keras's layers, and these in the order of the weights."""
  layers = []

  def normalised(x, channels, size, stride):
    if size == 3:
      x = L.ZeroPadding2D(1)(x)
    layers.extend([L.Conv2D(channels, size, stride, use_bias=False), norm()])
    return layers[-1](layers[-2](x))

  inputs = L.Input(shape)
  x = L.ReLU()(normalised(inputs, widths[0], 3, 1))
  for stage, width in enumerate(widths):
    for block in range(2):
      stride = 2 if stage and not block else 1
      y = normalised(L.ReLU()(normalised(x, width, 3, stride)), width, 3, 1)
      x = L.ReLU()(y + (normalised(x, width, 1, stride) if stride == 2 else x))
  layers.append(L.Dense(5))
  return tf.keras.Model(inputs, layers[-1](L.GlobalAveragePooling2D()(x))), layers


@pytest.mark.parametrize(('normalisation', 'training'), [('group', False), ('batch', False), ('batch', True)])
@pytest.mark.parametrize('size', [6, 7])
def test_it_is_that_of_keras(normalisation, training, size):
  shape, widths = (size, size + 1, 2), (4, 6)
  model = residual_network(
    'small', Task(shape, 5), seed=1, widths=widths, blocks=2, normalisation=normalisation, groups=2
  )
  norms = {'group': lambda: L.GroupNormalization(2, epsilon=1e-5), 'batch': lambda: L.BatchNormalization(epsilon=1e-5)}
  assert_same(model, *reference(shape, widths, norms[normalisation]), images(6, *shape), training=training)


def test_he_normal():
  kernel = he_normal(np.random.default_rng(0), (3, 3, 64, 128))
  assert kernel.dtype == np.float32
  assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.01)
  assert abs(kernel.mean()) < 5 * kernel.std() / np.sqrt(kernel.size)


def test_groups_that_do_not_divide_the_channels():
  with pytest.raises(ValueError, match='16 channels of resnet_cifar cannot be divided into 3 groups'):
    resnet_cifar(groups=3).build(Task((8, 8, 1), 10), seed=0)
