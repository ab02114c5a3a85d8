# SPDX-License-Identifier: Apache-2.0
"""The two-layer convolutional network of McMahan et al. (AISTATS 2017, arXiv:1602.05629, section 3).

Two 5x5 convolutions with 32 and 64 channels, each followed by a ReLU and 2x2 max pooling, a dense layer of 512 units
with a ReLU, and the output layer: 1,663,370 parameters on MNIST, which fixes the padding to 'same'.
"""

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, glorot_uniform, require_images


def cnn() -> Architecture:
  """Returns the network for images."""

  def build(task: Task, *, seed: int) -> Model:
    kernels = initial_kernels('cnn', task, seed=seed)
    flat = kernels[2].shape[0]
    initial_weights = []
    for kernel in kernels:
      initial_weights += [kernel, np.zeros(kernel.shape[-1], np.float32)]

    def logits(weights, x):
      import tensorflow as tf

      kernel_1, bias_1, kernel_2, bias_2, kernel_3, bias_3, kernel_4, bias_4 = weights
      for kernel, bias in ((kernel_1, bias_1), (kernel_2, bias_2)):
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=1, padding='SAME') + bias)
        x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding='SAME')
      x = tf.nn.relu(tf.reshape(x, [-1, flat]) @ kernel_3 + bias_3)
      return x @ kernel_4 + bias_4

    return Model('cnn', tuple(initial_weights), logits, logits, task.input_shape, jit_compile=False)

  return Architecture('cnn', 'CNN', build)


def initial_kernels(name: str, task: Task, *, seed: int) -> tuple[np.ndarray, ...]:
  """Returns the initial kernels of the four layers, for `name`, a model that has such layers."""
  height, width, channels = require_images(name, task)
  flat = -(-height // 4) * -(-width // 4) * 64
  rng = streams.generator('model', seed)
  shapes = [(5, 5, channels, 32), (5, 5, 32, 64), (flat, 512), (512, task.num_classes)]
  return tuple(glorot_uniform(rng, shape) for shape in shapes)
