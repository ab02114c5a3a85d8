# SPDX-License-Identifier: Apache-2.0
"""ConvNet2, the network of FederatedScope's image tasks (Xie et al., VLDB 2023, arXiv:2204.05011).

Two 5x5 convolutions with 32 and 64 channels, each with batch normalisation, a ReLU and 2x2 max pooling, a dense layer
of 2048 units with a ReLU, and the output layer. Units drop out on the way into each of the two dense layers. All layers
have biases, those that are normalised too, as there. On 28x28 images with 62 classes it has 6,603,902 parameters that
learn, and 192 running statistics; 6,603,710 without normalisation.

The defaults are FederatedScope's. Its scripts for FedAvg set the dropout to 0, its personalised ones leave it at 0.5.
Kernels are Glorot-uniform and biases zero at the start, as in this suite's other networks.

A local step on 10 images takes 21 ms, of which dropout takes 1, and 281 ms if XLA compiles it (one thread).
"""

from typing import Annotated, Literal

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.choices import Share
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, glorot_uniform, require_images
from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm
from fedprox_tff.models.dropout import with_dropout


def convnet2(
  *,
  hidden_units: Annotated[int, (1, None)] = 2048,
  dropout: Share = 0.5,
  normalisation: Literal['none', 'batch'] = 'batch',
) -> Architecture:
  """Returns the network for images of at least 4x4 pixels.

  Args:
    hidden_units: Units of the dense layer of `convnet2`.
    dropout: Share of the units that a local step drops.
    normalisation: How layers are normalised.
  """

  def build(task: Task, *, seed: int) -> Model:
    height, width, channels = require_images('convnet2', task)
    flat = (height // 4) * (width // 4) * 64
    if not flat:
      raise ValueError(f'The model convnet2 needs images of at least 4x4 pixels, not {height}x{width}.')
    rng = streams.generator('model', seed)
    parts = []
    for shape in ((5, 5, channels, 32), (5, 5, 32, 64), (flat, hidden_units), (hidden_units, task.num_classes)):
      parts += [glorot_uniform(rng, shape), np.zeros(shape[-1], np.float32)]
      if normalisation == 'batch' and len(shape) == 4:
        parts.append(BatchNorm(shape[-1]))

    def make(drop):
      def forward(parts, x):
        import tensorflow as tf

        *convolutions, kernel_3, bias_3, kernel_4, bias_4 = parts
        half = len(convolutions) // 2
        for kernel, bias, *norm in (convolutions[:half], convolutions[half:]):
          x = tf.nn.conv2d(x, kernel, strides=1, padding='SAME') + bias
          x = tf.nn.relu(norm[0](x) if norm else x)
          x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding='VALID')
        x = tf.nn.relu(drop(tf.reshape(x, [-1, flat]), 0) @ kernel_3 + bias_3)
        return drop(x, 1) @ kernel_4 + bias_4

      if normalisation == 'batch':
        return with_batch_norm('convnet2', parts, forward, task.input_shape, jit_compile=False)
      return Model('convnet2', tuple(parts), forward, forward, task.input_shape, jit_compile=False)

    return with_dropout(dropout, make)

  return Architecture('convnet2', 'ConvNet2', build)
