# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation (Ioffe and Szegedy, ICML 2015, arXiv:1502.03167), and models that have such layers.

Over the examples of a batch, and for images over the places of the image, each channel has a mean and a variance, and

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta
    running <- momentum running + (1 - momentum) batch      for either statistic

In evaluation the running statistics take the place of the batch's. momentum = 0.9 and epsilon = 1e-5 are PyTorch's
defaults (there momentum is 0.1, the new value's share), which FedBN's authors leave as they are; Keras has 0.99 and
1e-3. As in PyTorch, y has the batch's own variance (divided by n) and the running one follows its unbiased estimate
(divided by n - 1). Where PyTorch refuses a batch, n = 1, as the last one of an epoch may have, y is beta here and the
running variance stays.

Padding counts for nothing. A running variance that a server's step made negative counts as zero.

Where examples have different numbers of values, as graphs have of nodes, a layer's input has a row for each of them,
and their owners, the examples that they belong to, say which rows are padding.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.models.base import Model

MOMENTUM = 0.9  # the share of the old running statistic
EPSILON = 1e-5


class BatchNorm(NamedTuple):
  """A layer that normalises the last axis of its input. Its weights are gamma, beta, running mean, running variance."""

  num_channels: int

  @property
  def initial_weights(self) -> tuple[np.ndarray, ...]:
    """The layer that leaves inputs of mean 0 and variance 1 as they are."""
    return tuple(np.full(self.num_channels, value, np.float32) for value in (1, 0, 0, 1))


def with_batch_norm(
  name: str,
  parts: Sequence[np.ndarray | BatchNorm],
  forward: Callable[..., Any],
  input_shape: tuple[int, ...],
  *,
  jit_compile: bool,
  draws: bool = False,
) -> Model:
  """Returns a model with batch normalisation.

  Args:
    name: The model's name.
    parts: Its initial weights in their order, with a `BatchNorm` in the place of the four weights of such a layer.
    forward: `(parts, x)` to logits [batch, num_classes]. Each weight is there in the place of its initial value, and a
      function from a layer's input to its output in that of a `BatchNorm`. Its input has a row for each example, or for
      any number of values of each example: then `owners`, int32 [rows], is the place in the batch of each row's.
    input_shape: As in `Model`.
    jit_compile: As in `Model`.
    draws: As in `Model`. `forward` then is `(parts, x, key)`, and its `key` is None where nothing is to be drawn.
  """
  layers = [part.initial_weights if isinstance(part, BatchNorm) else (part,) for part in parts]
  normalisation = [isinstance(part, BatchNorm) for part, layer in zip(parts, layers, strict=True) for _ in layer]

  starts = np.cumsum([0, *map(len, layers)]).tolist()
  firsts = [start for start, part in zip(starts, parts, strict=False) if isinstance(part, BatchNorm)]
  statistics_at = [place for first in firsts for place in (first + 2, first + 3)]

  def bind(weights, normalise):
    """Returns what `forward` needs; `normalise` gets the place of a layer's first weight, the input and its owners."""
    bound, place = [], 0
    for part, layer in zip(parts, layers, strict=True):
      is_layer = isinstance(part, BatchNorm)
      bound.append((lambda x, owners=None, place=place: normalise(place, x, owners)) if is_layer else weights[place])
      place += len(layer)
    return bound

  def logits(weights, x):
    bound = bind(weights, lambda place, x, owners: _evaluate(x, *weights[place : place + 4]))
    return forward(bound, x, *[None] * draws)

  def train_logits(weights, x, mask, key):
    statistics = {}

    def normalise(place, x, owners):
      y, statistics[place + 2], statistics[place + 3] = _train(x, _of_rows(mask, owners), weights[place : place + 4])
      return y

    return forward(bind(weights, normalise), x, *[key] * draws), statistics

  return Model(
    name,
    tuple(weight for layer in layers for weight in layer),
    logits,
    logits,
    input_shape,
    jit_compile,
    normalisation=tuple(normalisation),
    statistics=frozenset(statistics_at),
    train_logits=train_logits,
    draws=draws,
  )


def _of_rows(mask, owners):
  """Returns the mask of the rows of a layer's input, float [rows]."""
  import tensorflow as tf

  return mask if owners is None else tf.gather(mask, owners)


def _evaluate(x, gamma, beta, mean, variance):
  import tensorflow as tf

  mean, variance = tf.stop_gradient(mean), tf.stop_gradient(variance)  # no gradient moves them, whoever asks for one
  return (x - mean) * (gamma * tf.math.rsqrt(tf.maximum(variance, 0.0) + EPSILON)) + beta


def _train(x, mask, weights):
  """Returns y, [rows, ..., num_channels], and the new running mean and variance, [num_channels].

  Args:
    x: [rows, ..., num_channels].
    mask: float [rows], 1 for those of examples and 0 for those of padding.
    weights: gamma, beta, running mean and running variance, each [num_channels].
  """
  import tensorflow as tf

  gamma, beta, running_mean, running_variance = weights
  axes = list(range(len(x.shape) - 1))
  num_values = tf.reduce_sum(mask) * math.prod(x.shape[1:-1])  # n
  share = tf.reshape(mask / num_values, [-1, *[1] * len(axes)])
  mean = tf.reduce_sum(x * share, axes)
  centred = x - mean
  variance = tf.reduce_sum(tf.square(centred) * share, axes)
  y = centred * (gamma * tf.math.rsqrt(variance + EPSILON)) + beta
  unbiased = variance * num_values / tf.maximum(num_values - 1, 1)
  new_variance = tf.where(num_values > 1, _follow(running_variance, unbiased), running_variance)
  return y, _follow(running_mean, mean), new_variance


def _follow(running, batch):
  return MOMENTUM * running + (1 - MOMENTUM) * batch
