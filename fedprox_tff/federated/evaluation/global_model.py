# SPDX-License-Identifier: Apache-2.0
"""Loss and accuracy of a model over all examples of all clients, as one pass over the pooled arrays.

The paper's metrics are means over clients weighted by n_k, which is the mean over examples. A percentile over clients
tells what such a mean hides: how well the model serves the clients that it serves badly.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import Examples
from fedprox_tff.models.base import Model

CHUNK = 1024  # examples at a time: bounds the memory of a convolutional network's activations


class Evaluation(NamedTuple):
  """Means over examples, and a percentile over clients."""

  loss: float  # cross-entropy, in nats
  accuracy: float  # share of examples whose largest logit is their label's
  accuracy_p10: float = math.nan  # 10th percentile over clients of the accuracy on their own examples, unweighted


def build_evaluation(
  model: Model, examples: Examples, offsets: np.ndarray | None = None
) -> Callable[[Weights], Evaluation]:
  """Returns a function from weights to the model's `Evaluation` on `examples`, which stay on the device.

  The mean of no examples is NaN, and so is the percentile of no clients.

  Args:
    model: The model.
    examples: All clients' examples.
    offsets: int [num_clients + 1]: client k's rows are offsets[k] to offsets[k + 1]. None: the percentile is NaN.
  """
  x, y = map(tf.convert_to_tensor, examples)
  num_examples = len(examples.y)

  @tf.function
  def score(weights):
    """Returns the sum of the losses, and which examples are right, bool [n]."""
    loss = tf.constant(0.0, tf.float64)
    correct = tf.TensorArray(tf.bool, size=-(-num_examples // CHUNK), infer_shape=False, element_shape=[None])
    for start in tf.range(0, num_examples, CHUNK):
      rows = slice(start, start + CHUNK)
      chunk_loss, chunk_correct = score_examples(model, weights, x[rows], y[rows])
      loss += chunk_loss
      correct = correct.write(start // CHUNK, chunk_correct)
    return loss, correct.concat()

  def evaluate(weights: Weights) -> Evaluation:
    if not num_examples:
      return Evaluation(math.nan, math.nan)
    weights = tuple(map(tf.convert_to_tensor, weights))
    loss, correct = (result.numpy() for result in as_traced(score, weights)(weights))
    p10 = math.nan if offsets is None else accuracy_p10(count_by_client(correct, offsets), np.diff(offsets))
    return Evaluation(float(loss) / num_examples, np.count_nonzero(correct) / num_examples, p10)

  return evaluate


def as_traced(function: Any, weights: Weights) -> Callable[..., Any]:
  """Returns a `tf.function` of weights as it is traced for some of their shapes.

  Runs that follow each other in one process have functions of their own. TensorFlow takes those for one that is traced
  again and again, and warns, unless they are called as they were traced.
  """
  return function.get_concrete_function(tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights))


def score_examples(model: Model, weights: Weights, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the sum of the examples' losses, float64, and which of the examples are right, bool [n]."""
  logits = model.logits(weights, x)
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
  return tf.reduce_sum(tf.cast(losses, tf.float64)), tf.argmax(logits, axis=1, output_type=tf.int32) == y


def count_by_client(correct: np.ndarray, offsets: np.ndarray) -> np.ndarray:
  """Returns how many of each client's examples are right, 0 for a client without any.

  Args:
    correct: bool [n], one client's examples after another's.
    offsets: int [num_clients + 1]: client k's examples are offsets[k] to offsets[k + 1].
  """
  return np.diff(np.concatenate([[0], np.cumsum(correct)])[offsets])


def accuracy_p10(num_correct: np.ndarray, num_examples: np.ndarray) -> float:
  """Returns the 10th percentile over clients of num_correct / num_examples, each client counting once.

  Clients without examples are left out; NaN without any others. Between two clients it is numpy's linear interpolation:
  of accuracies a_0 <= ... <= a_(m-1) it is the one at the place 0.1 (m - 1), counted from 0.
  """
  held = num_examples > 0
  return float(np.percentile(num_correct[held] / num_examples[held], 10)) if held.any() else math.nan
