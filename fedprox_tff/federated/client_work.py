# SPDX-License-Identifier: Apache-2.0
"""The client's part of a round, as a `tff.learning.templates.ClientWorkProcess`.

One client takes `num_steps` local steps from the server's weights w^t; step i uses the rows that its payload names:
batch i mod S of epoch i div S, S = ceil(n_k / B). Each step asks the algorithm for its direction and lets the client
optimizer apply it. The client returns the algorithm's report, such as w^t - w (TFF's sign: a server descends it), with
the weight that its payload names. A report that is not finite is replaced by zeros with weight zero, and counted.

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

from fedprox_tff.algorithms.base import Algorithm, Local, Report
from fedprox_tff.federated.local_model import LocalModel
from fedprox_tff.federated.payloads import BLOCK

_CONTEXT_SPEC = collections.OrderedDict(
  num_examples=tf.TensorSpec([], tf.int32),  # n_k
  num_steps=tf.TensorSpec([], tf.int32),  # budget in local steps; 0 for a dropped client
  weight=tf.TensorSpec([], tf.float32),  # mass in the server's mean
  order=tf.TensorSpec([None, None], tf.int32),  # [local steps, padded; batch size]: rows of the examples
)

_LARGE = 256  # numbers in an array from which on it matters how XLA writes it


def build_client_work(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  weights_type: tff.types.StructType,
  *,
  measure_gamma: bool = False,
) -> tff.learning.templates.ClientWorkProcess:
  """Builds the client work of `algorithm`.

  What the server sends, of `weights_type`, are the model's weights; behind those that do not learn comes the
  algorithm's message.

  The measurements are sums over the cohort: `num_steps` taken, `non_finite` clients left out, and `num_clients` that
  contribute to the mean; with `measure_gamma` also `gamma`, the sum of those clients' inexactness, and `gamma_max`.
  """
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
    non_trainable, message = split_message(model, weights.non_trainable)
    return run_local_steps(
      Local(weights.trainable, weights.trainable, message), non_trainable, hparams, examples, context
    )

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
  run_block = _build_block(algorithm, model, optimizer)
  full_gradient = model.build_gradient() if measure_gamma else None

  def run_local_steps(received, non_trainable, hparams, examples, context):
    start = algorithm.start(received, hparams)

    def run_next_block(first_step, state):
      block = {
        'first_step': first_step,
        'end': tf.minimum(context['num_steps'], first_step + BLOCK),
        'num_examples': context['num_examples'],
        'rows': context['order'][first_step : first_step + BLOCK],
      }
      local = start._replace(weights=(), scratch=())
      frozen = {'local': local, 'non_trainable': non_trainable, 'hparams': hparams, 'examples': examples}
      return block['end'], run_block(block, frozen, state)['state']

    optimizer_state = optimizer.initialize(_specs(received.anchor))
    optimizer_hparams = collections.OrderedDict(
      (name, hparams[name]) for name in optimizer.get_hparams(optimizer_state)
    )
    _, (weights, scratch, _) = tf.while_loop(
      lambda first_step, _: first_step < context['num_steps'],
      run_next_block,
      (tf.constant(0), (start.weights, start.scratch, optimizer.set_hparams(optimizer_state, optimizer_hparams))),
      parallel_iterations=1,
    )
    end = start._replace(weights=weights, scratch=scratch, num_steps=context['num_steps'])
    result, counts = _result(algorithm.finish(end, hparams), context)
    if measure_gamma:
      norms = [gradient_norm(local, non_trainable, hparams, examples, context) for local in (end, start)]
      counted = tf.cast(counts['num_clients'], tf.float32)
      counts['gamma'] = tf.where(counted > 0, tf.math.divide_no_nan(*norms), 0.0)
    return result, counts

  def gradient_norm(local, non_trainable, hparams, examples, context):
    """Returns the norm of the whole gradient of what the client minimises, h_k for FedProx."""
    rows = tf.reshape(context['order'], [-1])[: context['num_examples']]  # its first epoch: each example once
    data = tf.nest.map_structure(lambda array: tf.gather(array, rows), examples)

    def gradient_of(weights):
      return full_gradient(weights, non_trainable, data, context['num_examples'])

    local = local._replace(gradient_of=gradient_of)
    return tf.linalg.global_norm(algorithm.direction(gradient_of(local.weights), local, hparams))

  return run_local_steps


def _build_block(algorithm: Algorithm, model: LocalModel, optimizer: tff.learning.optimizers.Optimizer):
  """Returns the function that takes up to `BLOCK` local steps: XLA compiles it once, for clients of all sizes."""
  step_gradient = model.build_step_gradient()

  def descend(gradient, local, hparams):
    if algorithm.step is None:
      return algorithm.direction(gradient, local, hparams), ()
    return algorithm.step(gradient, local, hparams)

  @tf.function(jit_compile=model.jit_compile)
  def run_block(block, frozen, state):
    hparams, rows = frozen['hparams'], block['rows']
    batch_size = tf.shape(rows)[1]
    steps_per_epoch = (block['num_examples'] + batch_size - 1) // batch_size

    def step(i, state, _):
      weights, scratch, optimizer_state = state
      # Gathered, not sliced: XLA takes a slice's bounds for constants, and would compile anew for each of their values.
      step_rows = tf.gather(rows, i - block['first_step'])
      batch = tf.nest.map_structure(lambda array: _gather(array, step_rows), frozen['examples'])
      count = tf.minimum(batch_size, block['num_examples'] - i % steps_per_epoch * batch_size)

      def gradient_of(weights):
        return step_gradient(weights, frozen['non_trainable'], batch, count)

      local = frozen['local']._replace(weights=weights, scratch=scratch, num_steps=i, gradient_of=gradient_of)
      direction, new_scratch = descend(gradient_of(weights), local, hparams)
      new_optimizer_state, new_weights = optimizer.next(optimizer_state, weights, direction)
      new_state = (new_weights, new_scratch, new_optimizer_state)
      return i + 1, new_state, _apart(state, new_state)

    start = (block['first_step'], state, tf.constant(0.0))
    _, state, apart = tf.while_loop(lambda i, *_: i < block['end'], step, start, parallel_iterations=1)
    return {'state': state, 'apart': apart}

  return run_block


def _gather(array: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
  """Returns some rows of an array.

  As rows of a matrix: a model's own reshape then meets this one, both vanish, and XLA sees plain products of matrices,
  for which it has fast code.
  """
  flat = tf.gather(tf.reshape(array, [tf.shape(array)[0], array.shape[1:].num_elements()]), rows)
  return tf.reshape(flat, [tf.shape(rows)[0], *array.shape[1:]])


def _apart(old: Any, new: Any) -> tf.Tensor:
  """Returns a number that needs both the old and the new values of a loop, and that nobody else needs.

  XLA would write the new values over the old ones. Its loop over such an array is told to take two different arrays,
  finds out that they overlap, and falls back to one number at a time, which takes as long as the rest of the step. For
  this number's sake it writes them elsewhere, eight at a time, and copies them in one go.
  """
  pairs = zip(tf.nest.flatten(old), tf.nest.flatten(new), strict=True)
  large = [(a, b) for a, b in pairs if a.shape.num_elements() >= _LARGE]
  return sum((a[(0,) * a.shape.rank] - b[(0,) * b.shape.rank] for a, b in large), start=tf.constant(0.0))


def _result(report: Report, context):
  """Returns the client's result and the counts that are summed over the cohort."""
  if not tf.nest.flatten(report.extra):
    report = report.update
  finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tf.nest.flatten(report)])
  report = tf.nest.map_structure(lambda tensor: tf.where(finite, tensor, tf.zeros_like(tensor)), report)
  weight = tf.where(finite, context['weight'], 0.0)
  counts = collections.OrderedDict(
    num_steps=context['num_steps'],
    non_finite=tf.cast(tf.logical_not(finite), tf.int32),
    num_clients=tf.cast(weight > 0, tf.int32),
  )
  return tff.learning.templates.ClientResult(update=report, update_weight=weight), counts


def split_message(model: LocalModel, non_trainable: Any) -> tuple[Any, Any]:
  """Takes the algorithm's message from behind the model's weights that do not learn."""
  count = len(model.initial_weights.non_trainable)
  return tuple(non_trainable[:count]), tuple(non_trainable[count:])


def _specs(weights: Any) -> Any:
  return tf.nest.map_structure(lambda w: tf.TensorSpec(np.shape(w), w.dtype), weights)
