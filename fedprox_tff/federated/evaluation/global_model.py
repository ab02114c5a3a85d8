# SPDX-License-Identifier: Apache-2.0
"""Loss and accuracy of a model over examples of all clients together, as one pass over the pooled arrays.

The paper's metrics are means over clients weighted by n_k, which is the mean over examples; where an example has
several labels, it is the mean over labels. A percentile over clients tells what such a mean hides: how well the model
serves the clients that it serves badly.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated.scores import losses_of, num_correct
from fedprox_tff.models.base import Model

_AT_ONCE = 8  # models: the time of each falls to a third; twice as many would save little more


class Evaluation(NamedTuple):
  """Means over labels, of which an example has one or several, and a percentile over clients."""

  loss: float  # cross-entropy, in nats
  accuracy: float  # share of labels that have the largest logit
  accuracy_p10: float = math.nan  # 10th percentile over clients of the accuracy on their own examples, unweighted


class Evaluator:
  """Evaluates models on the same examples, which stay on the device.

  Attributes:
    at_once: How many models one pass over the examples evaluates at most. It is 1 where more would not be faster.
  """

  def __init__(self, model: Model, examples: Examples, offsets: np.ndarray | None = None):
    """Says what is evaluated on what.

    Args:
      model: The model.
      examples: All clients' examples.
      offsets: int [num_clients + 1]: client k's rows are offsets[k] to offsets[k + 1]. None: the percentile is NaN.
    """
    self.at_once = 1 if model.joint_logits is None else _AT_ONCE
    labels = count_labels(examples.y)
    self._num_labels, self._offsets = int(labels.sum()), offsets
    self._labels = None if offsets is None else sum_by_client(labels, offsets)
    x, y = map(tf.convert_to_tensor, examples)
    self._one = _build_pass(model, model.logits, x, y, shape=[])
    self._several = model.joint_logits and _build_pass(model, model.joint_logits, x, y, shape=[_AT_ONCE])

  def __call__(self, weights: Weights) -> Evaluation:
    """Evaluates one model; the mean of no examples is NaN, and so is the percentile of no clients."""
    if not self._num_labels:
      return Evaluation(math.nan, math.nan)
    weights = tuple(map(tf.convert_to_tensor, weights))
    loss, correct = as_traced(self._one, weights)(weights)
    return self._evaluation(loss.numpy(), correct.numpy())

  def of_several(self, models: Sequence[Weights]) -> list[Evaluation]:
    """Evaluates models in as few passes as possible.

    A pass is always one of `at_once` models, the last of which may be there for nothing. So the bits of an evaluation
    do not depend on which models share its pass.
    """
    if self._several is None or not self._num_labels:
      return list(map(self, models))
    evaluations = []
    for first in range(0, len(models), self.at_once):
      some = models[first : first + self.at_once]
      padded = [*some, *some[-1:] * (self.at_once - len(some))]
      weights = tuple(map(tf.stack, zip(*padded, strict=True)))
      losses, correct = (result.numpy() for result in as_traced(self._several, weights)(weights))
      evaluations += [self._evaluation(losses[m], correct[:, m]) for m in range(len(some))]
    return evaluations

  def _evaluation(self, loss: np.ndarray, correct: np.ndarray) -> Evaluation:
    """Returns an evaluation from the sum of the losses, and how many labels of each example are right."""
    p10 = math.nan
    if self._offsets is not None:
      p10 = accuracy_p10(sum_by_client(correct, self._offsets), self._labels)
    return Evaluation(float(loss) / self._num_labels, int(correct.sum()) / self._num_labels, p10)


def _build_pass(
  model: Model, logits: Callable[[Weights, tf.Tensor], tf.Tensor], x: tf.Tensor, y: tf.Tensor, *, shape: Sequence[int]
) -> Any:
  """Returns the graph of a pass over all examples, a chunk of them at a time.

  It goes from weights to the sum of the losses, float64 of `shape`, and how many labels of each example are right,
  int32 [n, *shape].

  Args:
    model: The model.
    logits: Those of one model, or of several.
    x: The examples' features.
    y: Their labels.
    shape: [], or the number of models.
  """
  num_examples, chunk = x.shape[0], model.chunk

  @tf.function(autograph=model.autograph)
  def score(weights):
    num_chunks = -(-num_examples // chunk)
    correct = tf.TensorArray(tf.int32, num_chunks, infer_shape=False, element_shape=[None, *shape])

    def add(i, loss, correct):
      rows = slice(i * chunk, (i + 1) * chunk)
      chunk_loss, chunk_correct = _score(logits, (*weights, *model.frozen), x[rows], y[rows])
      return i + 1, loss + chunk_loss, correct.write(i, chunk_correct)

    start = (tf.constant(0), tf.zeros(shape, tf.float64), correct)
    _, loss, correct = tf.while_loop(lambda i, *_: i < num_chunks, add, start, parallel_iterations=1)
    return loss, correct.concat()

  return score


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
  return _score(model.logits, (*weights, *model.frozen), x, y)


def _score(logits: Any, weights: Weights, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the sum of the losses and how many labels of each example are right, of one model or of each of M."""
  predicted = logits(weights, x)
  losses = losses_of(predicted, y).losses
  return tf.reduce_sum(tf.cast(losses, tf.float64), axis=0), num_correct(predicted, y)


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
