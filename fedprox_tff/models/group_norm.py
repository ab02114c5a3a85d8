# SPDX-License-Identifier: Apache-2.0
"""Group normalisation (Wu and He, ECCV 2018, arXiv:1803.08494), and networks that have such layers.

Of each example alone, the channels of an image are divided into groups of neighbours. Over a group's channels and all
places there is one mean and one variance (divided by the number of values), and

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta

with a gamma and a beta for each channel. There are no running statistics: local steps and evaluation compute the same,
and padding cannot matter. epsilon = 1e-5 is the paper's, and PyTorch's.

The gradient is written out. With x^ = (x - mean) / sqrt(variance + epsilon), g = gamma dy and means over the group,

    dx = (g - mean(g) - x^ mean(g x^)) / sqrt(variance + epsilon)

takes two passes over dy. A step of ResNet-20 takes 52 ms with it, 70 ms with TensorFlow's own gradient of the formula,
and 45 ms with nothing but gamma x + beta in the place of normalisation (batch 20, one thread).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.models.base import Model

EPSILON = 1e-5


class GroupNorm(NamedTuple):
  """A layer that normalises images by groups of their channels. Its weights are gamma and beta."""

  num_channels: int
  num_groups: int

  @property
  def initial_weights(self) -> tuple[np.ndarray, ...]:
    """The layer that leaves normalised inputs as they are."""
    return np.ones(self.num_channels, np.float32), np.zeros(self.num_channels, np.float32)


def with_group_norm(
  name: str,
  parts: Sequence[np.ndarray | GroupNorm],
  forward: Callable[[Sequence[Any], Any], Any],
  input_shape: tuple[int, ...],
  *,
  jit_compile: bool,
) -> Model:
  """Returns a model with group normalisation.

  Args:
    name: The model's name.
    parts: Its initial weights in their order, with a `GroupNorm` in the place of the two weights of such a layer.
    forward: `(parts, x)` to logits [batch, num_classes]. Each weight is there in the place of its initial value, and a
      function from a layer's input to its output in that of a `GroupNorm`.
    input_shape: As in `Model`.
    jit_compile: As in `Model`.

  Raises:
    ValueError: If a layer's channels cannot be divided into its groups.
  """
  for part in parts:
    if isinstance(part, GroupNorm) and part.num_channels % part.num_groups:
      raise ValueError(f'{part.num_channels} channels of {name} cannot be divided into {part.num_groups} groups.')
  layers = [part.initial_weights if isinstance(part, GroupNorm) else (part,) for part in parts]
  normalisation = [isinstance(part, GroupNorm) for part, layer in zip(parts, layers, strict=True) for _ in layer]

  def logits(weights, x):
    bound, place = [], 0
    for part, layer in zip(parts, layers, strict=True):
      own = weights[place : place + len(layer)]
      is_norm = isinstance(part, GroupNorm)
      bound.append((lambda x, own=own, part=part: group_norm(x, *own, part.num_groups)) if is_norm else own[0])
      place += len(layer)
    return forward(bound, x)

  initial_weights = tuple(weight for layer in layers for weight in layer)
  return Model(name, initial_weights, logits, logits, input_shape, jit_compile, normalisation=tuple(normalisation))


def group_norm(x: Any, gamma: Any, beta: Any, num_groups: int) -> Any:
  """Returns y for images x.

  Args:
    x: [batch, height, width, channels]; all but the batch is known.
    gamma: [channels].
    beta: [channels].
    num_groups: Of channels.
  """
  import tensorflow as tf

  height, width, channels = x.shape[1:]
  size = channels // num_groups  # of a group, in channels
  num_values = height * width * size

  def mean_of_group(sums):
    """Returns from the sum of each channel, [batch, channels], its group's mean, [batch, 1, 1, channels]."""
    sums = tf.reduce_sum(tf.reshape(sums, [-1, num_groups, size]), axis=2)
    return tf.reshape(tf.repeat(sums / num_values, size, axis=1), [-1, 1, 1, channels])

  @tf.custom_gradient
  def normalise(x, gamma, beta):
    mean = mean_of_group(tf.reduce_sum(x, [1, 2]))
    variance = mean_of_group(tf.reduce_sum(tf.math.squared_difference(x, mean), [1, 2]))
    inverse = tf.math.rsqrt(variance + EPSILON)
    scale = inverse * gamma

    def gradient(dy):
      sums = tf.reduce_sum(dy, [1, 2])  # of dy, and next of dy x^, over the places: [batch, channels]
      products = (tf.reduce_sum(dy * x, [1, 2]) - mean[:, 0, 0] * sums) * inverse[:, 0, 0]
      slope = mean_of_group(products * gamma) * inverse * inverse
      shift = mean_of_group(sums * gamma) * inverse - mean * slope
      return scale * dy - (x * slope + shift), tf.reduce_sum(products, axis=0), tf.reduce_sum(sums, axis=0)

    return x * scale + (beta - mean * scale), gradient

  return normalise(x, gamma, beta)
