# SPDX-License-Identifier: Apache-2.0
"""How client work sees a model: one pass over a batch, for this suite's models and for TFF's.

A batch is a fixed number of rows of which the first `count` are examples and the rest, in an epoch's short last batch,
are padding. This suite's models mask the padding, so that every shape is static and XLA can compile the loop; TFF's
models know only the loss of a whole batch, so for them the padding is cut off.
"""

import collections
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.scores import losses_of
from fedprox_tff.models.base import Model, has_features, head_of, layers_of

TffModel = tff.learning.models.FunctionalModel | Callable[[], tff.learning.models.VariableModel]

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
  features: Features | None = None
  statistics: frozenset[int] = frozenset()
  chunk: int = 1024


def local_model(model: Model | TffModel | LocalModel) -> LocalModel:
  """Adapts a model.

  Args:
    model: A `Model` of this suite, a `tff.learning.models.FunctionalModel`, or a function without arguments that
      returns a new `tff.learning.models.VariableModel`. A `LocalModel` stays as it is.
  """
  if isinstance(model, LocalModel):
    return model
  if isinstance(model, Model):
    return _from_model(model)
  if isinstance(model, tff.learning.models.FunctionalModel):
    return _from_functional_model(model)
  return _from_variable_model(model)


def functional_model(model: Model) -> tff.learning.models.FunctionalModel:
  """Returns `model` as TFF's `FunctionalModel`, with the mean cross-entropy of a batch as its loss.

  It is the other way round, for TFF's own builders, to compare with them.
  """

  @tf.function
  def predict_on_batch(weights, x, training):
    del training
    return model.logits((*weights[0], *weights[1]), x)

  @tf.function
  def loss(output, label, sample_weight=None):
    del sample_weight
    losses, counts = losses_of(output, label)
    return tf.reduce_mean(losses) if counts is None else tf.reduce_sum(losses) / tf.reduce_sum(counts)

  return tff.learning.models.FunctionalModel(
    initial_weights=(model.initial_weights, model.frozen),
    predict_on_batch_fn=predict_on_batch,
    loss_fn=loss,
    input_spec=_examples_spec(model),
  )


def _examples_spec(model: Model) -> collections.OrderedDict[str, tf.TensorSpec]:
  return collections.OrderedDict(
    x=tf.TensorSpec([None, *model.input_shape], model.input_type),
    y=tf.TensorSpec([None, *model.label_shape], tf.int32),
  )


def _from_model(model: Model) -> LocalModel:
  def pass_by(logits, *, as_trained):
    """Returns the `BatchPass` with the logits of `(weights, x)`, or `as_trained` those that a model has in training."""

    def batch_pass(trainable, non_trainable, batch, count, *, example_weights=None, key=None):
      mask = tf.cast(tf.range(tf.shape(batch['y'])[0]) < count, tf.float32)
      statistics = {}
      with tf.GradientTape() as tape:
        tape.watch(trainable)
        weights = (*trainable, *non_trainable)
        if model.component_logits is not None and example_weights is not None:
          seen = model.component_logits(weights, batch['x'])
        elif as_trained and model.train_logits is not None:
          seen, statistics = model.train_logits(weights, batch['x'], mask, key)
        else:
          seen = logits(weights, batch['x'])
        losses, counts = losses_of(seen, batch['y'])
        if example_weights is not None:
          losses = tf.reduce_sum(example_weights * _columns(losses), axis=1)
        loss = tf.reduce_sum(losses * mask) / _num_labels(counts, mask)
      return Pass(dense(tape.gradient(loss, trainable), trainable), statistics)

    return batch_pass

  def build_gradient():
    # Of many examples nothing drops out, and none is augmented: what a client minimises is not drawn anew each time.
    batch_pass = pass_by(model.logits, as_trained=not model.draws)
    return lambda *args: batch_pass(*args).gradient

  def batch_loss(trainable, non_trainable, batch, count):
    batch = tf.nest.map_structure(lambda rows: rows[:count], batch)
    found, _ = losses_of(model.logits((*trainable, *non_trainable), batch['x']), batch['y'])
    return tf.reduce_sum(found) / num_labels(batch, count)

  def losses(trainable, non_trainable, batch):
    logits = model.logits if model.component_logits is None else model.component_logits
    return _columns(losses_of(logits((*trainable, *non_trainable), batch['x']), batch['y']).losses)

  def num_labels(batch, count):
    if batch['y'].shape.rank == 1:
      return tf.cast(count, tf.float32)
    return tf.maximum(tf.reduce_sum(tf.cast(batch['y'][:count] >= 0, tf.float32)), 1e-9)  # 0 / 0 is nobody's share

  return LocalModel(
    tff.learning.models.ModelWeights(model.initial_weights, model.frozen),
    _examples_spec(model),
    build_gradient=build_gradient,
    build_step=lambda: pass_by(model.step_logits, as_trained=True),
    build_loss=lambda: batch_loss,
    losses=losses,
    num_labels=num_labels,
    jit_compile=model.jit_compile,
    draws=model.draws,
    features=_features(model) if has_features(model) else None,
    statistics=model.statistics,
    chunk=model.chunk,
    **layers_of(model),
  )


def _features(model: Model) -> Features:
  """Returns what the last layer, z kernel + bias, gets to see: the logits with the identity and 0 in their places."""
  is_head = head_of(model)

  def features(trainable, non_trainable, batch, *, count=None, key=None):
    kernel, _ = (weight for weight, own in zip(trainable, is_head, strict=True) if own)
    identity = iter((tf.eye(kernel.shape[0]), tf.zeros(kernel.shape[0])))
    weights = (*(next(identity) if own else w for w, own in zip(trainable, is_head, strict=True)), *non_trainable)
    if count is None:
      return model.logits(weights, batch['x'])
    if model.train_logits is None:
      return model.step_logits(weights, batch['x'])
    mask = tf.cast(tf.range(tf.shape(batch['y'])[0]) < count, tf.float32)
    return model.train_logits(weights, batch['x'], mask, key)[0]

  return features


def _num_labels(counts: tf.Tensor | None, mask: tf.Tensor) -> tf.Tensor:
  """Returns what the mean of a batch's losses divides by."""
  return tf.reduce_sum(mask) if counts is None else tf.maximum(tf.reduce_sum(counts * mask), 1.0)


def _columns(losses: tf.Tensor) -> tf.Tensor:
  """Returns losses of shape [batch] or [batch, M] as [batch, M]."""
  return losses if losses.shape.rank == 2 else losses[:, tf.newaxis]


def _from_functional_model(model: tff.learning.models.FunctionalModel) -> LocalModel:
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


def _from_variable_model(model_fn: Callable[[], tff.learning.models.VariableModel]) -> LocalModel:
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
    task_layers=(False,) * len(weights.trainable),
    head=(False,) * len(weights.trainable),
  )


def dense(gradients, weights) -> Weights:
  """Turns the gradients of embeddings into plain tensors, and those of unused variables into zeros."""
  return tuple(
    tf.zeros_like(weight) if gradient is None else tf.convert_to_tensor(gradient)
    for gradient, weight in zip(gradients, weights, strict=True)
  )
