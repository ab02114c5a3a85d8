# SPDX-License-Identifier: Apache-2.0
"""What client work needs of a model: one pass over a batch, whoever made the model.

A batch is a fixed number of rows of which the first `count` are examples and the rest, in an epoch's short last batch,
are padding. This suite's models mask the padding, so that every shape is static and XLA can compile the loop; TFF's
models know only the loss of a whole batch, so for them the padding is cut off.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.core.tree import Weights

# (trainable, non_trainable, batch, count) -> the gradient of the mean loss of the batch's first `count` rows
BatchGradient = Callable[[Weights, Weights, Any, tf.Tensor], Weights]

# The same arguments -> that mean loss itself, in evaluation
BatchLoss = Callable[[Weights, Weights, Any, tf.Tensor], tf.Tensor]

# (trainable, non_trainable, batch, *, count=None, key=None) -> what the last layer gets to see, [batch, d]. With
# `count` and `key` it is what it sees in a local step on the batch's first `count` rows, else in evaluation.
Features = Callable[..., tf.Tensor]


class Pass(NamedTuple):
  """What one batch says at some weights."""

  gradient: Weights  # of the trainable weights; zero for running statistics
  statistics: Mapping[int, tf.Tensor]  # the new values of the running statistics, by their place in the weights


# (trainable, non_trainable, batch, count, *, example_weights=None, key=None) -> the `Pass` of the batch's first `count`
# rows. `example_weights`, float [batch, M], are what each of a mixture's M models counts for each example, as FedEM's
# responsibilities q: the loss is then 1/count sum_i sum_m q_i(m) loss_m(i). M is 1 for any other model. `key`, int32
# [2], is what a model that `draws` draws from.
BatchPass = Callable[..., Pass]


class LocalModel(NamedTuple):
  """What client work needs of a model.

  Attributes:
    initial_weights: `tff.learning.models.ModelWeights` of arrays.
    examples_spec: `tf.TensorSpec`s of a batch, with the examples along the first axis.
    normalisation: For each trainable weight whether a normalisation layer owns it; False throughout for TFF's models,
      which do not tell.
    statistics: The places in the trainable weights of running statistics.
    build_gradient: Returns the `BatchGradient` for many examples; called once in the graph that will use it, where
      TFF's variable models create their variables.
    build_step: Returns the `BatchPass` for the few examples of a local step; called as `build_gradient`.
    build_loss: Returns the `BatchLoss`; called as `build_gradient`.
    losses: `(trainable, non_trainable, batch)` to the loss of each row in evaluation, [batch, M]: one column for each
      model of a mixture, M = 1 for any other model. None for TFF's models, which know only the loss of a whole batch.
    num_labels: `(batch, count)` to how many labels the first `count` rows have, a float: what the mean loss divides by.
    jit_compile: Whether XLA may compile the local loop.
    draws: Whether a local step needs a key.
    task_layers: For each trainable weight whether it belongs to the layers of a client's own task, as in `Model`.
    head: For each trainable weight whether it belongs to the last layer; False throughout for TFF's models, which do
      not tell.
    autograph: Whether its code is to be translated, as in `Model`.
    features: The `Features`; None for models that have none (`models.base.has_features`), and for TFF's models.
    chunk: How many examples go through the model at a time where all of a client's do.
  """

  initial_weights: tff.learning.models.ModelWeights
  examples_spec: Any
  normalisation: tuple[bool, ...]
  build_gradient: Callable[[], BatchGradient]
  build_step: Callable[[], BatchPass]
  build_loss: Callable[[], BatchLoss]
  losses: Callable[[Weights, Weights, Any], tf.Tensor] | None
  num_labels: Callable[[Any, tf.Tensor], tf.Tensor]
  jit_compile: bool
  draws: bool = False
  task_layers: tuple[bool, ...] = ()
  head: tuple[bool, ...] = ()
  autograph: bool = False
  features: Features | None = None
  statistics: frozenset[int] = frozenset()
  chunk: int = 1024


def dense(gradients, weights) -> Weights:
  """Turns the gradients of embeddings into plain tensors, and those of unused variables into zeros."""
  return tuple(
    tf.zeros_like(weight) if gradient is None else tf.convert_to_tensor(gradient)
    for gradient, weight in zip(gradients, weights, strict=True)
  )
