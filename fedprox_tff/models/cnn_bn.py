# SPDX-License-Identifier: Apache-2.0
"""The network of `cnn` with batch normalisation before each ReLU, as FedBN's own network has it (arXiv:2102.07623).

Its kernels start as those of `cnn` with the same seed. Layers that are normalised have no bias of their own, which the
normalisation would take away again; beta does its work. 1,665,194 parameters on MNIST, 1,216 of them running
statistics.
"""

import numpy as np

from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model
from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm
from fedprox_tff.models.cnn import initial_kernels


def cnn_bn() -> Architecture:
  """Returns the network for images."""

  def build(task: Task, *, seed: int) -> Model:
    kernel_1, kernel_2, kernel_3, kernel_4 = initial_kernels('cnn_bn', task, seed=seed)

    def forward(parts, x):
      import tensorflow as tf

      kernel_1, norm_1, kernel_2, norm_2, kernel_3, norm_3, kernel_4, bias = parts
      for kernel, norm in ((kernel_1, norm_1), (kernel_2, norm_2)):
        x = tf.nn.relu(norm(tf.nn.conv2d(x, kernel, strides=1, padding='SAME')))
        x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding='SAME')
      x = tf.nn.relu(norm_3(tf.reshape(x, [-1, kernel_3.shape[0]]) @ kernel_3))
      return x @ kernel_4 + bias

    parts = []
    for kernel in (kernel_1, kernel_2, kernel_3):
      parts += [kernel, BatchNorm(kernel.shape[-1])]
    parts += [kernel_4, np.zeros(task.num_classes, np.float32)]
    return with_batch_norm('cnn_bn', parts, forward, task.input_shape, jit_compile=False)

  return Architecture('cnn_bn', 'CNN with batch normalisation', build)
