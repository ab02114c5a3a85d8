# SPDX-License-Identifier: Apache-2.0
"""Mixtures of M models, as FedEM learns them (Marfoq et al., NeurIPS 2021, arXiv:2108.10252).

The mixture's probabilities are the mean of its models' probabilities with weights pi (not of their logits):

    p(y | x) = sum_m pi_m softmax(z_m(x))_y

Its logits are log p. The models' weights are one tuple, one model after another. What is frozen they share.
"""

import math

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, head_of


def mixture(architecture: Architecture, num_components: int) -> Architecture:
  """Returns the mixture of M = `num_components` models of an architecture, such as `cnn()`.

  Model 0 starts where the architecture alone does with the same seed, the others elsewhere, since models that start
  alike stay alike. `logits` takes the M models' weights, behind them pi, float [M], which sums to 1, and then what is
  frozen; without pi it is 1/M.
  """

  def build(task: Task, *, seed: int) -> Model:
    seeds = [seed, *(_component_seed(seed, m) for m in range(1, num_components))]
    components = [architecture.build(task, seed=component_seed) for component_seed in seeds]
    component = components[0]
    if component.draws:
      raise ValueError(f'A mixture cannot be made of {component.name} with dropout: --dropout=0 is needed.')
    if component.train_logits is not None:
      raise ValueError(
        f'A mixture cannot be made of {component.name}: batch normalisation would see all examples alike, whatever '
        'the share that each model has in them.'
      )
    size, num_frozen = len(component.initial_weights), len(component.frozen)

    def stacked(logits, weights, x):
      import tensorflow as tf

      frozen = weights[len(weights) - num_frozen :]
      own = [weights[m * size : (m + 1) * size] for m in range(num_components)]
      return tf.stack([logits((*each, *frozen), x) for each in own], axis=1)

    def component_logits(weights, x):
      return stacked(component.step_logits, weights, x)

    def logits(weights, x):
      import tensorflow as tf

      log_probabilities = tf.nn.log_softmax(stacked(component.logits, weights, x))
      has_pi = len(weights) > num_components * size + num_frozen
      log_pi = -math.log(num_components)
      if has_pi:
        axes = [1] * len(task.label_shape)
        log_pi = tf.reshape(tf.math.log(weights[num_components * size]), [num_components, *axes, 1])
      return tf.reduce_logsumexp(log_probabilities + log_pi, axis=1)

    return Model(
      f'mixture of {num_components} {component.name}',
      tuple(weight for model in components for weight in model.initial_weights),
      logits,
      logits,
      component.input_shape,
      component.jit_compile,
      normalisation=component.normalisation * num_components,
      component_logits=component_logits,
      frozen=component.frozen,
      task_layers=component.task_layers * num_components,
      head=head_of(component) * num_components,
      autograph=component.autograph,
      chunk=component.chunk,
      label_shape=component.label_shape,
    )

  title = f'mixture of {num_components} models: {architecture.title}'
  return Architecture(f'mixture of {num_components} {architecture.name}', title, build)


def _component_seed(seed: int, m: int) -> int:
  """Returns the seed of model m >= 1, below 2^32."""
  return int(streams.generator('components', seed, m).integers(2**32))
