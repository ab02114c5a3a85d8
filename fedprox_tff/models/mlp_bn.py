# SPDX-License-Identifier: Apache-2.0
"""A network of one hidden layer with batch normalisation: 128 units, normalised before the ReLU.

The hidden layer has no bias of its own, which the normalisation would take away again; beta does its work. 102,154
parameters on MNIST, 256 of them running statistics.
"""

import math

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.models.base import Model, glorot_uniform
from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm

_UNITS = 128


def mlp_bn(input_shape: tuple[int, ...], num_classes: int, *, seed: int) -> Model:
  """Returns the network on the flattened features."""
  num_inputs = math.prod(input_shape)
  rng = streams.generator('model', seed)
  hidden, output = (glorot_uniform(rng, shape) for shape in ((num_inputs, _UNITS), (_UNITS, num_classes)))

  def forward(parts, x):
    import tensorflow as tf

    hidden, norm, output, bias = parts
    return tf.nn.relu(norm(tf.reshape(x, [-1, num_inputs]) @ hidden)) @ output + bias

  parts = [hidden, BatchNorm(_UNITS), output, np.zeros(num_classes, np.float32)]
  return with_batch_norm('mlp_bn', parts, forward, input_shape, jit_compile=True)
