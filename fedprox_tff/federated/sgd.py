# SPDX-License-Identifier: Apache-2.0
"""Which optimizers are SGD, and which plain, w <- w - lr g: some methods know what their steps add up to."""

import tensorflow as tf
import tensorflow_federated as tff

_WEIGHTS = (tf.TensorSpec([1], tf.float32),)


def is_plain_sgd(optimizer: tff.learning.optimizers.Optimizer) -> bool:
  """Returns whether an optimizer remembers nothing but its learning rate.

  Of TFF's optimizers that is `build_sgdm` without momentum alone. All others keep momentum, squares or a count of
  steps. The step itself is not looked at: an optimizer of somebody's own may do something else without a memory.
  """
  with tf.Graph().as_default():  # computes nothing: TensorFlow takes its number of threads when it first does
    state = optimizer.initialize(_WEIGHTS)
    return list(optimizer.get_hparams(state)) == ['learning_rate'] and len(tf.nest.flatten(state)) == 1


def is_sgd(optimizer: tff.learning.optimizers.Optimizer) -> bool:
  """Returns whether an optimizer's hyperparameters are a learning rate, and perhaps a momentum: TFF's `build_sgdm`."""
  with tf.Graph().as_default():
    return set(optimizer.get_hparams(optimizer.initialize(_WEIGHTS))) in (
      {'learning_rate'},
      {'learning_rate', 'momentum'},
    )
