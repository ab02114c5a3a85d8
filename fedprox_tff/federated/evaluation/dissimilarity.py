# SPDX-License-Identifier: Apache-2.0
"""How much the clients' gradients differ at the server's weights, over all clients (Li et al., arXiv:1812.06127).

With g_k the gradient of client k's risk F_k over all its training examples and G = sum_k n_k g_k / n that of the global
objective f:

    variance = 1/N sum_k ||G - g_k||^2        what the authors' code plots in Figures 2, 6 and 8 ("Variance of Local
                                              Grad."): masses n_k inside G, uniform ones outside
    B        = sqrt(sum_k p_k ||g_k||^2) / ||G||   the paper's Definition 3, p_k = n_k / n; 1 where all g_k are zero
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.client_model import LocalModel
from fedprox_tff.federated.evaluation.global_model import as_traced


class Dissimilarity(NamedTuple):
  """Dissimilarity of the local gradients at one point."""

  variance: float
  b: float  # at least 1


def build_dissimilarity(model: LocalModel, examples: Any, offsets: np.ndarray) -> Callable[[Weights], Dissimilarity]:
  """Returns a function from weights to the `Dissimilarity` of the clients there.

  Clients without examples count for nothing.

  Args:
    model: The model.
    examples: All clients' training examples, in the model's structure, one client after another.
    offsets: int [num_clients + 1]: client k's rows are offsets[k] to offsets[k + 1].
  """
  held = np.diff(offsets) > 0
  starts, ends = (tf.constant(bounds[held], tf.int32) for bounds in (offsets[:-1], offsets[1:]))
  num_clients, num_examples = int(held.sum()), int(offsets[-1] - offsets[0])
  examples = tf.nest.map_structure(tf.convert_to_tensor, examples)
  batch_gradient, frozen = model.build_gradient(), tuple(map(tf.convert_to_tensor, model.initial_weights.non_trainable))

  def client_gradient(weights, start, end):
    """Returns the gradient of a client's mean loss, float64, of no more than a chunk of its examples at a time."""
    num_labels = model.num_labels(tf.nest.map_structure(lambda rows: rows[start:end], examples), end - start)

    def add(first, total):
      last = tf.minimum(first + model.chunk, end)
      batch = tf.nest.map_structure(lambda rows: rows[first:last], examples)
      share = tf.cast(model.num_labels(batch, last - first) / num_labels, tf.float64)
      gradient = batch_gradient(weights, frozen, batch, last - first)
      return last, tuple(a + share * tf.cast(g, tf.float64) for a, g in zip(total, gradient, strict=True))

    zeros = tuple(tf.zeros(w.shape, tf.float64) for w in weights)
    return tf.while_loop(lambda first, _: first < end, add, (start, zeros), parallel_iterations=1)[1]

  @tf.function(autograph=model.autograph)
  def sums(weights):
    """Returns sum g_k, sum n_k g_k, sum ||g_k||^2 and sum n_k ||g_k||^2, in float64 since they are subtracted."""

    def add(k, total, weighted, square, weighted_square):
      gradient = client_gradient(weights, starts[k], ends[k])
      n = tf.cast(ends[k] - starts[k], tf.float64)
      squared_norm = tf.add_n([tf.reduce_sum(g * g) for g in gradient])
      total = tuple(a + g for a, g in zip(total, gradient, strict=True))
      weighted = tuple(a + n * g for a, g in zip(weighted, gradient, strict=True))
      return k + 1, total, weighted, square + squared_norm, weighted_square + n * squared_norm

    zeros, zero = tuple(tf.zeros(w.shape, tf.float64) for w in weights), tf.constant(0.0, tf.float64)
    start = (tf.constant(0), zeros, zeros, zero, zero)
    return tf.while_loop(lambda k, *_: k < num_clients, add, start, parallel_iterations=1)[1:]

  def dissimilarity(weights: Weights) -> Dissimilarity:
    weights = tuple(map(tf.convert_to_tensor, weights))
    results = as_traced(sums, weights)(weights)
    total, weighted, square, weighted_square = tf.nest.map_structure(lambda t: t.numpy(), results)
    global_gradient = np.concatenate([np.ravel(w) for w in weighted]) / num_examples
    mean_gradient = np.concatenate([np.ravel(t) for t in total]) / num_clients
    squared_norm = global_gradient @ global_gradient
    variance = square / num_clients - 2 * global_gradient @ mean_gradient + squared_norm
    second_moment = weighted_square / num_examples
    b = math.sqrt(second_moment / squared_norm) if squared_norm else (math.inf if second_moment else 1.0)
    return Dissimilarity(float(variance), b)

  return dissimilarity
