# SPDX-License-Identifier: Apache-2.0
"""TFF's models as client work sees them: they know the loss of a whole batch, and do not tell their layers."""

import collections
import functools
from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.client_model import LocalModel, Pass, dense


def of_functional(model: tff.learning.models.FunctionalModel) -> LocalModel:
  """Returns what client work needs of a functional model."""

  def loss(trainable, non_trainable, batch, count, *, training=False):
    batch = tf.nest.map_structure(lambda rows: rows[:count], batch)
    x, y = (batch['x'], batch['y']) if isinstance(batch, collections.abc.Mapping) else batch
    return model.loss(output=model.predict_on_batch((trainable, non_trainable), x, training=training), label=y)

  def gradient(trainable, non_trainable, batch, count):
    with tf.GradientTape() as tape:
      tape.watch(trainable)
      mean = loss(trainable, non_trainable, batch, count, training=True)
    return dense(tape.gradient(mean, trainable), trainable)

  return _tff_model(model.initial_weights, model.input_spec, lambda: gradient, lambda: loss)


def of_variable(model_fn: Callable[[], tff.learning.models.VariableModel]) -> LocalModel:
  """Returns what client work needs of a variable model, of which `model_fn` makes a new one."""

  def build_forward():
    model = model_fn()
    variables = tff.learning.models.ModelWeights.from_model(model)

    def forward(trainable, non_trainable, batch, count, *, training):
      for variable, value in zip(variables.trainable, trainable, strict=True):
        variable.assign(value)
      for variable, value in zip(variables.non_trainable, non_trainable, strict=True):
        variable.assign(value)
      return model.forward_pass(tf.nest.map_structure(lambda rows: rows[:count], batch), training=training).loss

    return variables, forward

  def build_gradient():
    variables, forward = build_forward()

    def gradient(trainable, non_trainable, batch, count):
      with tf.GradientTape() as tape:
        loss = forward(trainable, non_trainable, batch, count, training=True)
      return dense(tape.gradient(loss, list(variables.trainable)), trainable)

    return gradient

  def build_loss():
    _, forward = build_forward()
    return functools.partial(forward, training=False)

  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    model = model_fn()
    examples_spec = model.input_spec
    session.run(tf.compat.v1.global_variables_initializer())
    initial = session.run((list(model.trainable_variables), list(model.non_trainable_variables)))
  return _tff_model(initial, examples_spec, build_gradient, build_loss)


def _tff_model(initial_weights, examples_spec, build_gradient, build_loss) -> LocalModel:
  def build_step():
    gradient = build_gradient()

    def batch_pass(trainable, non_trainable, batch, count, *, example_weights=None, key=None):
      del key  # TFF's models draw from TensorFlow's own generators, if at all
      if example_weights is not None:
        raise ValueError("example_weights: TFF's models know only the loss of a whole batch, not that of an example.")
      return Pass(gradient(trainable, non_trainable, batch, count), {})

    return batch_pass

  weights = tff.learning.models.ModelWeights(*map(tuple, initial_weights))
  return LocalModel(
    weights,
    examples_spec,
    normalisation=(False,) * len(weights.trainable),
    build_gradient=build_gradient,
    build_step=build_step,
    build_loss=build_loss,
    losses=None,
    num_labels=lambda batch, count: tf.cast(count, tf.float32),
    jit_compile=False,
    autograph=True,
    task_layers=(False,) * len(weights.trainable),
    head=(False,) * len(weights.trainable),
  )
