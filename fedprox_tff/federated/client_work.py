# SPDX-License-Identifier: Apache-2.0
"""The client's part of a round, as a `tff.learning.templates.ClientWorkProcess`.

One client takes `num_steps` local steps from the server's weights w^t; step i uses batch i mod S of epoch i div S,
S = ceil(n_k / B). Each step asks the algorithm for its direction and lets the client optimizer apply it. The client
returns w^t - w, TFF's sign (a server descends it), with the weight that its payload names. An update that is not
finite is replaced by zeros with weight zero, and counted.

A client's gamma-inexactness (Li et al., arXiv:1812.06127, Definition 2) is, at its final w and over all its examples,
||grad h_k(w; w^t)|| / ||grad h_k(w^t; w^t)||: 0 for an exact minimiser of h_k, 1 for no work. It costs two passes.

Hyperparameters (the optimizer's and the algorithm's, such as mu) are the state of this process, not constants of its
graph: `get_hparams` and `set_hparams` read and change them between rounds.
"""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff import tree
from fedprox_tff.algorithms.base import Algorithm, Local
from fedprox_tff.federated.local_model import LocalModel

_CONTEXT_SPEC = collections.OrderedDict(
  num_examples=tf.TensorSpec([], tf.int32),  # n_k
  num_steps=tf.TensorSpec([], tf.int32),  # budget in local steps; 0 for a dropped client
  weight=tf.TensorSpec([], tf.float32),  # mass in the server's mean
  order=tf.TensorSpec([None, None, None], tf.int32),  # [epochs, padded batches, batch size]: rows of the examples
)


def build_client_work(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  *,
  measure_gamma: bool = False,
) -> tff.learning.templates.ClientWorkProcess:
  """Builds the client work of `algorithm`.

  The measurements are sums over the cohort: `num_steps` taken, `non_finite` clients left out, and `num_clients` that
  contribute to the mean; with `measure_gamma` also `gamma`, the sum of those clients' inexactness, and `gamma_max`.
  """
  weights_type = tff.types.tensorflow_to_type(_specs(model.initial_weights))
  data_type = tff.types.to_type(
    collections.OrderedDict(
      examples=tff.SequenceType(tff.types.tensorflow_to_type(model.examples_spec)),
      context=tff.SequenceType(tff.types.tensorflow_to_type(_CONTEXT_SPEC)),
    )
  )

  @tff.tensorflow.computation
  def initial_hparams():
    specs = _specs(model.initial_weights.trainable)
    optimizer_hparams = optimizer.get_hparams(optimizer.initialize(specs))
    shared = set(optimizer_hparams) & set(algorithm.hparams)
    if shared:
      raise ValueError(f'{algorithm.name} and its client optimizer share the hyperparameter names {sorted(shared)}.')
    constants = {name: tf.constant(value, tf.float32) for name, value in algorithm.hparams.items()}
    return collections.OrderedDict(optimizer_hparams, **constants)

  hparams_type = initial_hparams.type_signature.result

  @tff.tensorflow.computation(weights_type, hparams_type, data_type)
  def client_update(weights, hparams, data):
    examples = data['examples'].get_single_element()
    context = data['context'].get_single_element()
    run_local_steps = _build_local_steps(algorithm, model, optimizer, measure_gamma)
    return run_local_steps(weights.trainable, weights.non_trainable, hparams, examples, context)

  @tff.federated_computation
  def initialize():
    return tff.federated_eval(initial_hparams, tff.SERVER)

  @tff.federated_computation(
    tff.FederatedType(hparams_type, tff.SERVER),
    tff.FederatedType(weights_type, tff.CLIENTS),
    tff.FederatedType(data_type, tff.CLIENTS),
  )
  def next_fn(hparams, weights, data):
    result, counts = tff.federated_map(client_update, (weights, tff.federated_broadcast(hparams), data))
    measurements = tff.federated_sum(counts)
    if measure_gamma:
      sums = {name: measurements[name] for name, _ in tff.structure.to_elements(measurements.type_signature.member)}
      maximum = tff.federated_max(counts['gamma'])
      measurements = tff.federated_zip(collections.OrderedDict(sums, gamma_max=maximum))
    return tff.templates.MeasuredProcessOutput(hparams, result, measurements)

  @tff.tensorflow.computation(hparams_type)
  def get_hparams(state):
    return state

  @tff.tensorflow.computation(hparams_type, hparams_type)
  def set_hparams(state, hparams):
    del state
    return hparams

  return tff.learning.templates.ClientWorkProcess(
    initialize, next_fn, get_hparams_fn=get_hparams, set_hparams_fn=set_hparams
  )


def _build_local_steps(
  algorithm: Algorithm, model: LocalModel, optimizer: tff.learning.optimizers.Optimizer, measure_gamma: bool
):
  """Returns the function that a client runs; called in the graph of the client's computation."""
  batch_gradient = model.build_gradient()

  @tf.function(jit_compile=model.jit_compile)
  def run_local_steps(anchor, non_trainable, hparams, examples, context):
    order = context['order']
    batch_size = tf.shape(order)[2]
    steps_per_epoch = (context['num_examples'] + batch_size - 1) // batch_size

    def step(i, weights, optimizer_state):
      epoch, position = i // steps_per_epoch, i % steps_per_epoch
      # Gathered, not sliced: XLA takes a slice's bounds for constants, and would compile anew for each n_k.
      rows = tf.gather_nd(order, [epoch, position])
      batch = tf.nest.map_structure(lambda array: tf.gather(array, rows), examples)
      count = tf.minimum(batch_size, context['num_examples'] - position * batch_size)
      gradient = batch_gradient(weights, non_trainable, batch, count)
      direction = algorithm.direction(gradient, Local(weights, anchor), hparams)
      optimizer_state, weights = optimizer.next(optimizer_state, weights, direction)
      return i + 1, weights, optimizer_state

    optimizer_state = optimizer.initialize(_specs(anchor))
    optimizer_hparams = collections.OrderedDict(
      (name, hparams[name]) for name in optimizer.get_hparams(optimizer_state)
    )
    _, weights, _ = tf.while_loop(
      lambda i, *_: i < context['num_steps'],
      step,
      (tf.constant(0), anchor, optimizer.set_hparams(optimizer_state, optimizer_hparams)),
      parallel_iterations=1,
    )
    result, counts = _report(tree.sub(anchor, weights), context)
    if measure_gamma:
      norms = [gradient_norm(Local(w, anchor), non_trainable, hparams, examples, context) for w in (weights, anchor)]
      counted = tf.cast(counts['num_clients'], tf.float32)
      counts['gamma'] = tf.where(counted > 0, tf.math.divide_no_nan(*norms), 0.0)
    return result, counts

  def gradient_norm(local, non_trainable, hparams, examples, context):
    """Returns the norm of the whole gradient of what the client minimises, h_k for FedProx."""
    gradient = batch_gradient(local.weights, non_trainable, examples, context['num_examples'])
    return tf.linalg.global_norm(algorithm.direction(gradient, local, hparams))

  return run_local_steps


def _report(update, context):
  """Returns the client's result and the counts that are summed over the cohort."""
  finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in update])
  update = tuple(tf.where(finite, tensor, tf.zeros_like(tensor)) for tensor in update)
  weight = tf.where(finite, context['weight'], 0.0)
  counts = collections.OrderedDict(
    num_steps=context['num_steps'],
    non_finite=tf.cast(tf.logical_not(finite), tf.int32),
    num_clients=tf.cast(weight > 0, tf.int32),
  )
  return tff.learning.templates.ClientResult(update=update, update_weight=weight), counts


def _specs(weights: Any) -> Any:
  return tf.nest.map_structure(lambda w: tf.TensorSpec(np.shape(w), w.dtype), weights)
