# SPDX-License-Identifier: Apache-2.0
"""Multinomial logistic regression, the model of the FedProx paper for MNIST, FEMNIST and the synthetic sets.

The initial kernel is Glorot-uniform and the bias zero, as in the authors' code. Their code declares an L2 penalty that
never joins the loss; there is none here.
"""

import math

import numpy as np

from fedprox_tff import streams
from fedprox_tff.models.base import Model, glorot_uniform


def logistic(input_shape: tuple[int, ...], num_classes: int, *, seed: int) -> Model:
  """Returns softmax regression on the flattened features: 7,850 parameters on MNIST."""
  num_inputs = math.prod(input_shape)
  kernel = glorot_uniform(streams.generator('model', seed), (num_inputs, num_classes))
  bias = np.zeros(num_classes, np.float32)

  def logits(weights, x):
    import tensorflow as tf

    kernel, bias = weights
    return tf.reshape(x, [-1, num_inputs]) @ kernel + bias

  return Model('logistic', (kernel, bias), logits, input_shape, jit_compile=True)
