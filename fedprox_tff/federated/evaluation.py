# SPDX-License-Identifier: Apache-2.0
"""Loss and accuracy of a model over all examples of all clients, as one pass over the pooled arrays.

The paper's metrics are means over clients weighted by n_k, which is the mean over examples.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from fedprox_tff.datasets.base import Examples
from fedprox_tff.models.base import Model
from fedprox_tff.tree import Weights

_CHUNK = 1024  # examples at a time: bounds the memory of a convolutional network's activations


class Evaluation(NamedTuple):
  """Means over examples."""

  loss: float  # cross-entropy, in nats
  accuracy: float  # share of examples whose largest logit is their label's


def build_evaluation(model: Model, examples: Examples) -> Callable[[Weights], Evaluation]:
  """Returns a function from weights to the model's `Evaluation` on `examples`, which stay on the device.

  The mean of no examples is NaN.
  """
  x, y = map(tf.convert_to_tensor, examples)
  num_examples = len(examples.y)

  @tf.function
  def sums(weights):
    loss, correct = tf.constant(0.0, tf.float64), tf.constant(0, tf.int64)
    for start in tf.range(0, num_examples, _CHUNK):
      labels = y[start : start + _CHUNK]
      logits = model.logits(weights, x[start : start + _CHUNK])
      losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
      loss += tf.reduce_sum(tf.cast(losses, tf.float64))
      correct += tf.math.count_nonzero(tf.argmax(logits, axis=1, output_type=tf.int32) == labels)
    return loss, correct

  def evaluate(weights: Weights) -> Evaluation:
    loss, correct = sums(tuple(weights))
    if not num_examples:
      return Evaluation(float('nan'), float('nan'))
    return Evaluation(float(loss) / num_examples, int(correct) / num_examples)

  return evaluate
