# SPDX-License-Identifier: Apache-2.0
"""Mixtures of M models, as FedEM learns them (Marfoq et al., NeurIPS 2021, arXiv:2108.10252).

The mixture's probabilities are the mean of its models' probabilities with weights pi (not of their logits):

    p(y | x) = sum_m pi_m softmax(z_m(x))_y

Its logits are log p. The models' weights are one tuple, one model after another.
"""

import math

from fedprox_tff.core import streams
from fedprox_tff.models.base import Architecture, Model


def mixture(architecture: Architecture, num_components: int) -> Architecture:
  """Returns the mixture of M = `num_components` models of an architecture, such as `cnn()`.

  Model 0 starts where the architecture alone does with the same seed, the others elsewhere, since models that start
  alike stay alike. `logits` takes the M models' weights, and behind them pi, float [M], which sums
  to 1; without it pi_m = 1/M.
  """

  def build(input_shape: tuple[int, ...], num_classes: int, *, seed: int) -> Model:
    seeds = [seed, *(_component_seed(seed, m) for m in range(1, num_components))]
    components = [architecture.build(input_shape, num_classes, seed=component_seed) for component_seed in seeds]
    component = components[0]
    if component.train_logits is not None:
      raise ValueError(
        f'A mixture cannot be made of {component.name}: batch normalisation would see all examples alike, whatever '
        'the share that each model has in them.'
      )
    size = len(component.initial_weights)

    def stacked(logits, weights, x):
      import tensorflow as tf

      return tf.stack([logits(weights[m * size : (m + 1) * size], x) for m in range(num_components)], axis=1)

    def component_logits(weights, x):
      return stacked(component.step_logits, weights, x)

    def logits(weights, x):
      import tensorflow as tf

      log_probabilities = tf.nn.log_softmax(stacked(component.logits, weights, x))
      has_pi = len(weights) > num_components * size
      log_pi = tf.math.log(weights[-1])[:, tf.newaxis] if has_pi else -math.log(num_components)
      return tf.reduce_logsumexp(log_probabilities + log_pi, axis=1)

    return Model(
      f'mixture of {num_components} {component.name}',
      tuple(weight for model in components for weight in model.initial_weights),
      logits,
      logits,
      input_shape,
      component.jit_compile,
      normalisation=component.normalisation * num_components,
      component_logits=component_logits,
    )

  title = f'mixture of {num_components} models: {architecture.title}'
  return Architecture(f'mixture of {num_components} {architecture.name}', title, build)


def _component_seed(seed: int, m: int) -> int:
  """Returns the seed of model m >= 1, below 2^32."""
  return int(streams.generator('components', seed, m).integers(2**32))
