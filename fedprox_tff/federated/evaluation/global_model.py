# SPDX-License-Identifier: Apache-2.0
"""Loss and accuracy of a model over examples of all clients together, as one pass over the pooled arrays.

The paper's metrics are means over clients weighted by n_k, which is the mean over examples; where an example has
several labels, it is the mean over labels. A percentile over clients tells what such a mean hides: how well the model
serves the clients that it serves badly.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated.scores import losses_of, num_correct
from fedprox_tff.models.base import Model


class Evaluation(NamedTuple):
  """Means over labels, of which an example has one or several, and a percentile over clients."""

  loss: float  # cross-entropy, in nats
  accuracy: float  # share of labels that have the largest logit
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
  num_examples, chunk = len(examples.y), model.chunk
  labels = count_labels(examples.y)
  num_labels = int(labels.sum())

  @tf.function
  def score(weights):
    """Returns the sum of the losses, and how many labels of each example are right, int32 [n]."""
    loss = tf.constant(0.0, tf.float64)
    correct = tf.TensorArray(tf.int32, size=-(-num_examples // chunk), infer_shape=False, element_shape=[None])
    for start in tf.range(0, num_examples, chunk):
      rows = slice(start, start + chunk)
      chunk_loss, chunk_correct = score_examples(model, weights, x[rows], y[rows])
      loss += chunk_loss
      correct = correct.write(start // chunk, chunk_correct)
    return loss, correct.concat()

  def evaluate(weights: Weights) -> Evaluation:
    if not num_labels:
      return Evaluation(math.nan, math.nan)
    weights = tuple(map(tf.convert_to_tensor, weights))
    loss, correct = (result.numpy() for result in as_traced(score, weights)(weights))
    p10 = math.nan
    if offsets is not None:
      p10 = accuracy_p10(sum_by_client(correct, offsets), sum_by_client(labels, offsets))
    return Evaluation(float(loss) / num_labels, int(correct.sum()) / num_labels, p10)

  return evaluate


def as_traced(function: Any, weights: Weights) -> Callable[..., Any]:
  """Returns a `tf.function` of weights as it is traced for some of their shapes.

  Runs that follow each other in one process have functions of their own. TensorFlow takes those for one that is traced
  again and again, and warns, unless they are called as they were traced.
  """
  return function.get_concrete_function(tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights))


def score_examples(model: Model, weights: Weights, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the sum of the examples' losses, float64, and how many labels of each are right, int32 [n].

  `weights` are the trainable ones; what is frozen comes from the model.
  """
  logits = model.logits((*weights, *model.frozen), x)
  losses = losses_of(logits, y).losses
  return tf.reduce_sum(tf.cast(losses, tf.float64)), num_correct(logits, y)


def count_labels(y: np.ndarray) -> np.ndarray:
  """Returns how many labels each example has, int64 [n], of labels [n], or of [n, length] with -1 for padding."""
  y = np.asarray(y)
  return np.ones(len(y), np.int64) if y.ndim == 1 else np.count_nonzero(y >= 0, axis=1)


def sum_by_client(numbers: np.ndarray, offsets: np.ndarray) -> np.ndarray:
  """Returns the sum of the numbers of each client's examples, 0 for a client without any.

  Args:
    numbers: int [n], one client's examples after another's.
    offsets: int [num_clients + 1]: client k's examples are offsets[k] to offsets[k + 1].
  """
  return np.diff(np.concatenate([[0], np.cumsum(numbers, dtype=np.int64)])[offsets])


def accuracy_p10(correct: np.ndarray, labels: np.ndarray) -> float:
  """Returns the 10th percentile over clients of correct / labels, each client counting once.

  Clients without labels are left out; NaN without any others. Between two clients it is numpy's linear interpolation:
  of accuracies a_0 <= ... <= a_(m-1) it is the one at the place 0.1 (m - 1), counted from 0.
  """
  held = labels > 0
  return float(np.percentile(correct[held] / labels[held], 10)) if held.any() else math.nan
