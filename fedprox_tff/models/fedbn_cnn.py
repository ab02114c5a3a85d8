# SPDX-License-Identifier: Apache-2.0
"""The network of six layers with which FedBN was introduced, for digits (Li et al., ICLR 2021, arXiv:2102.07623).

Three 5x5 convolutions with 64, 64 and 128 channels, of which the first two are followed by 2x2 max pooling, dense
layers of 2048 and 512 units, and the output layer. Batch normalisation and a ReLU follow each layer but the last. All
layers have biases, as in the authors' code: 14,219,210 parameters that learn on 28x28x3 images with 10 classes, and
5,632 running statistics. Kernels are Glorot-uniform and biases zero at the start, as in this suite's other networks.

A local step on 32 images takes 102 ms, and 4.3 s if XLA compiles it (one thread).
"""

import itertools

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, glorot_uniform, require_images
from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm


def fedbn_cnn() -> Architecture:
  """Returns the network for images of at least 4x4 pixels."""

  def build(task: Task, *, seed: int) -> Model:
    height, width, channels = require_images('fedbn_cnn', task)
    flat = (height // 4) * (width // 4) * 128
    if not flat:
      raise ValueError(f'The model fedbn_cnn needs images of at least 4x4 pixels, not {height}x{width}.')
    rng = streams.generator('model', seed)
    shapes = [(5, 5, *ends) for ends in itertools.pairwise((channels, 64, 64, 128))]
    shapes += itertools.pairwise((flat, 2048, 512, task.num_classes))
    parts = []
    for shape in shapes:
      parts += [glorot_uniform(rng, shape), np.zeros(shape[-1], np.float32), BatchNorm(shape[-1])]

    def forward(parts, x):
      import tensorflow as tf

      layers = [parts[i : i + 3] for i in range(0, 15, 3)]
      for i, (kernel, bias, norm) in enumerate(layers[:3]):
        x = tf.nn.relu(norm(tf.nn.conv2d(x, kernel, strides=1, padding='SAME') + bias))
        if i < 2:
          x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding='VALID')
      x = tf.reshape(x, [-1, flat])
      for kernel, bias, norm in layers[3:]:
        x = tf.nn.relu(norm(x @ kernel + bias))
      kernel, bias = parts[15:]
      return x @ kernel + bias

    model = with_batch_norm('fedbn_cnn', parts[:-1], forward, task.input_shape, jit_compile=False)
    return model._replace(chunk=256)

  return Architecture('fedbn_cnn', "FedBN's CNN", build)
