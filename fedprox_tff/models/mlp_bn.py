# SPDX-License-Identifier: Apache-2.0
"""A network of one hidden layer with batch normalisation: 128 units by default, normalised before the ReLU.

The hidden layer has no bias of its own, which the normalisation would take away again; beta does its work. 102,154
parameters on MNIST, 256 of them running statistics.
"""

import math
from typing import Annotated

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, glorot_uniform, require_numbers
from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm


def mlp_bn(*, hidden_units: Annotated[int, (1, None)] = 128) -> Architecture:
  """Returns the network on the flattened features.

  Args:
    hidden_units: Units of the hidden layer of `mlp_bn`.
  """

  def build(task: Task, *, seed: int) -> Model:
    require_numbers('mlp_bn', task)
    num_inputs, num_classes = math.prod(task.input_shape), task.num_classes
    rng = streams.generator('model', seed)
    hidden, output = (glorot_uniform(rng, shape) for shape in ((num_inputs, hidden_units), (hidden_units, num_classes)))

    def forward(parts, x):
      import tensorflow as tf

      hidden, norm, output, bias = parts
      return tf.nn.relu(norm(tf.reshape(x, [-1, num_inputs]) @ hidden)) @ output + bias

    parts = [hidden, BatchNorm(hidden_units), output, np.zeros(num_classes, np.float32)]
    return with_batch_norm('mlp_bn', parts, forward, task.input_shape, jit_compile=True)

  return Architecture('mlp_bn', 'MLP with batch normalisation', build)
