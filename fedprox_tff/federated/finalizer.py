# SPDX-License-Identifier: Apache-2.0
"""The server's part of a round, as a `tff.learning.templates.FinalizerProcess`.

The algorithm's own rule, or a server optimizer that descends the mean update; then the next round's message. A mean
that is not finite (that of nobody, 0 / 0, or one whose norm overflows) leaves the server as it is, and so does a finite
one of which the step would make anything that is not finite: weights, what the server keeps, or the message. A run thus
keeps its last finite state.
"""

import collections
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, Report, Server
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.client_model import LocalModel
from fedprox_tff.federated.client_work import split_message, unpack
from fedprox_tff.federated.local_steps import specs_of


def build_finalizer(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  weights_type: tff.types.StructType,
  report_type: tff.types.StructType,
) -> tff.learning.templates.FinalizerProcess:
  """Builds the finalizer: of `algorithm.server.update` if there is one, else of the optimizer."""

  @tff.tensorflow.computation
  def initial_state():
    kept = initial_kept(algorithm, optimizer, model.initial_weights.trainable)
    hparams = {name: tf.constant(value, tf.float32) for name, value in algorithm.server.hparams.items()}
    return collections.OrderedDict(hparams=collections.OrderedDict(hparams), kept=kept)

  state_type = initial_state.type_signature.result

  @tff.tensorflow.computation(state_type, weights_type, report_type)
  def update(state, weights, parts):
    report = unpack(parts)
    non_trainable, message = split_message(model, weights.non_trainable)
    before = Server(weights.trainable, message, state['kept'])
    if algorithm.server.update is None:
      kept, new_weights = optimizer.next(before.kept, before.weights, report.update)
      after = before._replace(weights=new_weights, kept=kept)
    else:
      after = algorithm.server.update(before, report, state['hparams'])
    if algorithm.server.message is not None:
      after = after._replace(message=algorithm.server.message(before, report, state['hparams']))
    skip, measurements = _measure_update(report, after)
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
    optimizers = optimizer.get_hparams(state['kept']) if algorithm.server.update is None else {}
    return collections.OrderedDict(optimizers, **state['hparams'])

  hparams_type = get_hparams.type_signature.result

  @tff.tensorflow.computation(state_type, hparams_type)
  def set_hparams(state, hparams):
    own = collections.OrderedDict((name, hparams[name]) for name in state['hparams'])
    if algorithm.server.update is not None:
      return collections.OrderedDict(state, hparams=own)
    others = collections.OrderedDict((name, value) for name, value in hparams.items() if name not in own)
    return collections.OrderedDict(hparams=own, kept=optimizer.set_hparams(state['kept'], others))

  return tff.learning.templates.FinalizerProcess(
    initialize, next_fn, get_hparams_fn=get_hparams, set_hparams_fn=set_hparams
  )


def initial_kept(algorithm: Algorithm, optimizer: tff.learning.optimizers.Optimizer, weights: Weights) -> Any:
  """Returns what the server keeps to itself before a round that starts at `weights`, if there was none before."""
  if algorithm.server.update is None:
    return optimizer.initialize(specs_of(weights))
  return tf.nest.map_structure(lambda x: tf.convert_to_tensor(x, tf.float32), algorithm.server.init(weights).kept)


def _measure_update(report: Report, after: Server):
  """Rejects a mean that is not finite, and a step that would leave the server with something that is not."""
  norm = tf.linalg.global_norm(tf.nest.flatten(report.update))
  others = tf.nest.flatten((report.extra, report.sums, after))
  skip = tf.logical_not(tf.reduce_all([tf.math.is_finite(norm), *map(_is_finite, others)]))
  measurements = collections.OrderedDict(
    update_norm=tf.where(skip, 0.0, norm),
    skipped=tf.cast(skip, tf.int32),
  )
  return skip, measurements


def _is_finite(value):
  """Returns whether all numbers of a tensor are finite; whole numbers, such as an optimizer's count of steps, are."""
  tensor = tf.convert_to_tensor(value)
  return tf.reduce_all(tf.math.is_finite(tensor)) if tensor.dtype.is_floating else tf.constant(True)
