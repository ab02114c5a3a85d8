# SPDX-License-Identifier: Apache-2.0
"""Multinomial logistic regression, the model of the FedProx paper for MNIST, FEMNIST and the synthetic sets.

The initial kernel is Glorot-uniform and the bias zero, as in the authors' code. Their code declares an L2 penalty that
never joins the loss; there is none here. The kernel is kept as [classes, inputs], one row for each class: XLA is fast
at products of a matrix and a vector, and at updating long rows.
"""

import math

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, glorot_uniform, require_numbers

_MAX_ROWS = 16  # classes up to which a local step takes row after row: half the time of one product of matrices for 10
_MAX_JOINT = 64  # classes up to which the product of all examples and one model's kernel is too narrow to be fast


def logistic() -> Architecture:
  """Returns softmax regression on the flattened features: 7,850 parameters on MNIST."""

  def build(task: Task, *, seed: int) -> Model:
    require_numbers('logistic', task)
    num_inputs, num_classes = math.prod(task.input_shape), task.num_classes
    kernel = glorot_uniform(streams.generator('model', seed), (num_inputs, num_classes))
    initial_weights = (np.ascontiguousarray(kernel.T), np.zeros(num_classes, np.float32))

    def logits(weights, x):
      import tensorflow as tf

      kernel, bias = weights
      return tf.matmul(tf.reshape(x, [-1, num_inputs]), kernel, transpose_b=True) + bias

    def step_logits(weights, x):
      import tensorflow as tf

      if num_classes > _MAX_ROWS:
        return logits(weights, x)
      kernel, bias = weights
      x = tf.reshape(x, [-1, num_inputs])
      return tf.stack([tf.linalg.matvec(x, row) for row in tf.unstack(kernel)], axis=1) + bias

    def joint_logits(weights, x):
      import tensorflow as tf

      kernels, biases = weights
      columns = tf.transpose(tf.reshape(kernels, [-1, num_inputs]))
      products = tf.matmul(tf.reshape(x, [-1, num_inputs]), columns) + tf.reshape(biases, [-1])
      return tf.reshape(products, [-1, tf.shape(biases)[0], num_classes])

    return Model(
      'logistic',
      initial_weights,
      logits,
      step_logits,
      task.input_shape,
      jit_compile=True,
      joint_logits=joint_logits if num_classes <= _MAX_JOINT else None,
    )

  return Architecture('logistic', 'logistic regression', build)
