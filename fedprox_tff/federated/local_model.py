# SPDX-License-Identifier: Apache-2.0
"""How client work sees a model: the gradient of one batch, for this suite's models and for TFF's.

A batch is a fixed number of rows of which the first `count` are examples and the rest, in an epoch's short last batch,
are padding. This suite's models mask the padding, so that every shape is static and XLA can compile the loop; TFF's
models know only the loss of a whole batch, so for them the padding is cut off.
"""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.models.base import Model
from fedprox_tff.tree import Weights

# (trainable, non_trainable, batch, count) -> the gradient of the mean loss of the batch's first `count` rows
BatchGradient = Callable[[Weights, Weights, Any, tf.Tensor], Weights]
TffModel = tff.learning.models.FunctionalModel | Callable[[], tff.learning.models.VariableModel]


class LocalModel(NamedTuple):
  """What client work needs of a model.

  Attributes:
    initial_weights: `tff.learning.models.ModelWeights` of arrays.
    examples_spec: `tf.TensorSpec`s of a batch, with the examples along the first axis.
    build_gradient: Returns the `BatchGradient` for many examples; called once in the graph that will use it, where
      TFF's variable models create their variables.
    build_step_gradient: The same for the few examples of a local step.
    jit_compile: Whether XLA may compile the local loop.
  """

  initial_weights: tff.learning.models.ModelWeights
  examples_spec: Any
  build_gradient: Callable[[], BatchGradient]
  build_step_gradient: Callable[[], BatchGradient]
  jit_compile: bool


def local_model(model: Model | TffModel) -> LocalModel:
  """Adapts a model.

  Args:
    model: A `Model` of this suite, a `tff.learning.models.FunctionalModel`, or a function without arguments that
      returns a new `tff.learning.models.VariableModel`.
  """
  if isinstance(model, Model):
    return _from_model(model)
  if isinstance(model, tff.learning.models.FunctionalModel):
    return _from_functional_model(model)
  return _from_variable_model(model)


def _from_model(model: Model) -> LocalModel:
  def gradient_of(logits):
    def gradient(trainable, non_trainable, batch, count):
      del non_trainable
      mask = tf.cast(tf.range(tf.shape(batch['y'])[0]) < count, tf.float32)
      with tf.GradientTape() as tape:
        tape.watch(trainable)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=batch['y'], logits=logits(trainable, batch['x']))
        loss = tf.reduce_sum(losses * mask) / tf.reduce_sum(mask)
      return tape.gradient(loss, trainable)

    return gradient

  examples_spec = collections.OrderedDict(
    x=tf.TensorSpec([None, *model.input_shape], tf.float32), y=tf.TensorSpec([None], tf.int32)
  )
  weights = tff.learning.models.ModelWeights(model.initial_weights, ())
  return LocalModel(
    weights,
    examples_spec,
    build_gradient=lambda: gradient_of(model.logits),
    build_step_gradient=lambda: gradient_of(model.step_logits),
    jit_compile=model.jit_compile,
  )


def _from_functional_model(model: tff.learning.models.FunctionalModel) -> LocalModel:
  def gradient(trainable, non_trainable, batch, count):
    batch = tf.nest.map_structure(lambda rows: rows[:count], batch)
    x, y = (batch['x'], batch['y']) if isinstance(batch, collections.abc.Mapping) else batch
    with tf.GradientTape() as tape:
      tape.watch(trainable)
      loss = model.loss(output=model.predict_on_batch((trainable, non_trainable), x, training=True), label=y)
    return _dense(tape.gradient(loss, trainable), trainable)

  trainable, non_trainable = model.initial_weights
  weights = tff.learning.models.ModelWeights(tuple(trainable), tuple(non_trainable))
  return LocalModel(weights, model.input_spec, lambda: gradient, lambda: gradient, jit_compile=False)


def _from_variable_model(model_fn: Callable[[], tff.learning.models.VariableModel]) -> LocalModel:
  def build_gradient():
    model = model_fn()
    variables = tff.learning.models.ModelWeights.from_model(model)

    def gradient(trainable, non_trainable, batch, count):
      for variable, value in zip(variables.trainable, trainable, strict=True):
        variable.assign(value)
      for variable, value in zip(variables.non_trainable, non_trainable, strict=True):
        variable.assign(value)
      with tf.GradientTape() as tape:
        output = model.forward_pass(tf.nest.map_structure(lambda rows: rows[:count], batch), training=True)
      return _dense(tape.gradient(output.loss, list(variables.trainable)), trainable)

    return gradient

  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    model = model_fn()
    examples_spec = model.input_spec
    session.run(tf.compat.v1.global_variables_initializer())
    initial = session.run((list(model.trainable_variables), list(model.non_trainable_variables)))
  weights = tff.learning.models.ModelWeights(*map(tuple, initial))
  return LocalModel(weights, examples_spec, build_gradient, build_gradient, jit_compile=False)


def _dense(gradients, weights) -> Weights:
  """Turns the gradients of embeddings into plain tensors, and those of unused variables into zeros."""
  return tuple(
    tf.zeros_like(weight) if gradient is None else tf.convert_to_tensor(gradient)
    for gradient, weight in zip(gradients, weights, strict=True)
  )
