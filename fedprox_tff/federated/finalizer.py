# SPDX-License-Identifier: Apache-2.0
"""The server's part of a round, as a `tff.learning.templates.FinalizerProcess`.

With the algorithm's own rule, or with TFF's finalizer where a server optimizer descends the mean update. In both a mean
that is not finite (that of nobody, 0 / 0, or one whose norm overflows) leaves the server as it is.
"""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, Report, Server
from fedprox_tff.federated.client_work import split_message
from fedprox_tff.federated.local_model import LocalModel


def build_finalizer(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  weights_type: tff.types.StructType,
  report_type: tff.types.StructType,
) -> tff.learning.templates.FinalizerProcess:
  """Builds the finalizer: of `algorithm.update_server` if there is one, else of the optimizer."""
  if algorithm.update_server is None:
    return tff.learning.templates.build_apply_optimizer_finalizer(optimizer, weights_type, _measure_update)

  @tff.tensorflow.computation
  def initial_state():
    kept = algorithm.start_server(model.initial_weights.trainable).kept
    hparams = {name: tf.constant(value, tf.float32) for name, value in algorithm.server_hparams.items()}
    return collections.OrderedDict(
      hparams=collections.OrderedDict(hparams),
      kept=tf.nest.map_structure(lambda value: tf.constant(value, tf.float32), kept),
    )

  state_type = initial_state.type_signature.result
  hparams_type = state_type['hparams']

  @tff.tensorflow.computation(state_type, weights_type, report_type)
  def update(state, weights, report):
    report = report if isinstance(report, Report) else Report(report)
    non_trainable, message = split_message(model, weights.non_trainable)
    before = Server(weights.trainable, message, state['kept'])
    after = algorithm.update_server(before, report, state['hparams'])
    skip, measurements = _measure_update(state, report)
    after = tf.nest.map_structure(lambda old, new: tf.where(skip, old, new), before, after)
    new_weights = tff.learning.models.ModelWeights(after.weights, (*non_trainable, *after.message))
    return collections.OrderedDict(state, kept=after.kept), new_weights, measurements

  @tff.federated_computation
  def initialize():
    return tff.federated_eval(initial_state, tff.SERVER)

  @tff.federated_computation(
    tff.FederatedType(state_type, tff.SERVER),
    tff.FederatedType(weights_type, tff.SERVER),
    tff.FederatedType(report_type, tff.SERVER),
  )
  def next_fn(state, weights, report):
    return tff.templates.MeasuredProcessOutput(*tff.federated_map(update, (state, weights, report)))

  @tff.tensorflow.computation(state_type)
  def get_hparams(state):
    return state['hparams']

  @tff.tensorflow.computation(state_type, hparams_type)
  def set_hparams(state, hparams):
    return collections.OrderedDict(state, hparams=hparams)

  return tff.learning.templates.FinalizerProcess(
    initialize, next_fn, get_hparams_fn=get_hparams, set_hparams_fn=set_hparams
  )


def _measure_update(state, report):
  """Rejects a mean that is not finite."""
  del state
  update, extra = report if isinstance(report, Report) else (report, ())
  norm = tf.linalg.global_norm(tf.nest.flatten(update))
  skip = tf.logical_not(tf.reduce_all([tf.math.is_finite(norm), *map(_is_finite, tf.nest.flatten(extra))]))
  measurements = collections.OrderedDict(
    update_norm=tf.where(skip, 0.0, norm),
    skipped=tf.cast(skip, tf.int32),
  )
  return skip, measurements


def _is_finite(tensor):
  return tf.reduce_all(tf.math.is_finite(tensor))
