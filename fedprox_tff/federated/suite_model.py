# SPDX-License-Identifier: Apache-2.0
"""This suite's models as client work sees them, and as TFF does."""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.client_model import Features, LocalModel, Pass, dense
from fedprox_tff.federated.scores import losses_of
from fedprox_tff.models.base import Model, has_features, head_of, layers_of


def functional_model(model: Model) -> tff.learning.models.FunctionalModel:
  """Returns `model` as TFF's `FunctionalModel`, with the mean cross-entropy of a batch as its loss.

  It is the other way round, for TFF's own builders, to compare with them.
  """

  @tf.function(autograph=model.autograph)
  def predict_on_batch(weights, x, training):
    del training
    return model.logits((*weights[0], *weights[1]), x)

  @tf.function(autograph=False)
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


def of_suite(model: Model) -> LocalModel:
  """Returns what client work needs of a model of this suite."""

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
    autograph=model.autograph,
    features=_features(model) if has_features(model) else None,
    statistics=model.statistics,
    chunk=model.chunk,
    **layers_of(model),
  )


def _examples_spec(model: Model) -> collections.OrderedDict[str, tf.TensorSpec]:
  return collections.OrderedDict(
    x=tf.TensorSpec([None, *model.input_shape], model.input_type),
    y=tf.TensorSpec([None, *model.label_shape], tf.int32),
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
