# SPDX-License-Identifier: Apache-2.0
"""Networks for images learn labels by heart, by plain gradient descent."""

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.models import convnet2, fedbn_cnn, resnet_cifar, vgg
from tests.models.references import images
from tests.tasks import COLOUR_IMAGES, IMAGES

KEY = tf.constant([3, 5])


@pytest.mark.parametrize(
  ('architecture', 'learning_rate'),
  [
    (convnet2(hidden_units=64, dropout=0.2, normalisation='none'), 0.2),
    (convnet2(hidden_units=64), 0.05),
    (fedbn_cnn(), 0.05),
    (resnet_cifar(depth=8), 0.1),
    (resnet_cifar(depth=8, normalisation='batch'), 0.1),
    (vgg(), 0.005),
  ],
)
def test_the_loss_falls(architecture, learning_rate):
  task = COLOUR_IMAGES if architecture.name == 'vgg' else IMAGES  # where VGG has more than one pixel left at its end
  model = architecture.build(task, seed=0)
  x, labels = images(16, *task.input_shape), np.arange(16) % 10

  def losses_of_steps(weights):
    losses = []
    for i in range(8):
      with tf.GradientTape() as tape:
        tape.watch(weights)
        if model.train_logits is None:
          logits, statistics = model.step_logits(weights, x), {}
        else:
          logits, statistics = model.train_logits(weights, x, tf.ones(16), KEY + i)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
      gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
      moved = [w - learning_rate * g for w, g in zip(weights, gradients, strict=True)]
      weights = tuple(statistics.get(place, w) for place, w in enumerate(moved))
      losses.append(float(loss))
    return losses

  losses = losses_of_steps(tuple(map(tf.constant, model.initial_weights)))
  assert np.isfinite(losses).all()
  assert np.mean(losses[-2:]) < 0.8 * losses[0], losses
