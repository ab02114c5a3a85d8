# SPDX-License-Identifier: Apache-2.0
"""The client's part of a round, as a `tff.learning.templates.ClientWorkProcess`.

A client takes its local steps from the server's weights w^t and returns the algorithm's report, such as w^t - w (TFF's
sign: a server descends it), with the weight that its payload names. A report that is not finite is replaced by zeros
with weight zero, and counted.

A client of a method with client state finds its state in its payload and returns the new one as `state` of its report;
one that is dropped, or whose report is not finite, returns the old one.

Hyperparameters (the optimizer's and the algorithm's, such as mu) are the state of this process, not constants of its
graph: `get_hparams` and `set_hparams` read and change them between rounds.
"""

import collections
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, Local, Report, shared_names
from fedprox_tff.federated.client_model import LocalModel
from fedprox_tff.federated.local_steps import build_local_steps, specs_of
from fedprox_tff.federated.passes import AS_IT_IS, GradientRule

CONTEXT_SPEC = collections.OrderedDict(
  num_examples=tf.TensorSpec([], tf.int32),  # n_k
  first_row=tf.TensorSpec([], tf.int32),  # where the client's own rows begin in the examples
  num_steps=tf.TensorSpec([], tf.int32),  # budget in local steps; 0 for a dropped client
  weight=tf.TensorSpec([], tf.float32),  # mass in the server's mean
  key=tf.TensorSpec([2], tf.int32),  # names all that the client's local steps draw at random
  order=tf.TensorSpec([None, None], tf.int32),  # [local steps, padded; batch size]: rows of the examples
)


def build_client_work(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  weights_type: tff.types.StructType,
  *,
  rule: GradientRule = AS_IT_IS,
  measure_gamma: bool = False,
  only_gathers: bool = False,
) -> tff.learning.templates.ClientWorkProcess:
  """Builds the client work of `algorithm`.

  What the server sends, of `weights_type`, are the model's weights; behind those that do not learn comes the
  algorithm's message. `only_gathers` is said of a first communication, see `gathering`.

  The measurements are sums over the cohort: `num_steps` taken, `non_finite` clients left out, `num_clients` that
  contribute to the mean, `num_gradients` of batches, where one over all of a client's examples counts as all of its
  batches, and `num_floats` sent to clients and back; with `measure_gamma` also `gamma`, the sum of the contributing
  clients' inexactness, and `gamma_max`.
  """
  data_type = _data_type(algorithm, model)
  own_layers = (False,) * len(model.initial_weights.trainable)
  if algorithm.client.own_layers is not None:
    own_layers = algorithm.client.own_layers(_newcomer(model))

  @tff.tensorflow.computation
  def initial_hparams():
    optimizer_hparams = optimizer.get_hparams(optimizer.initialize(specs_of(model.initial_weights.trainable)))
    shared = shared_names(algorithm, optimizer_hparams)
    if shared:
      raise ValueError(f'{algorithm.name} and its client optimizer share the hyperparameter names {shared}.')
    constants = {name: tf.constant(value, tf.float32) for name, value in algorithm.client.hparams.items()}
    return collections.OrderedDict(optimizer_hparams, **constants)

  def num_floats(weights, message, report):
    if only_gathers:
      return _num_floats((weights, report.extra))
    sent = message if algorithm.client.gather is not None else (weights, message)  # the weights went with the first one
    staying = _num_floats(tuple(w for w, stays in zip(weights, own_layers, strict=True) if stays))
    return _num_floats((sent, report._replace(state=()))) - 2 * staying

  hparams_type = initial_hparams.type_signature.result

  @tff.tensorflow.computation(weights_type, hparams_type, data_type)
  def client_update(weights, hparams, data):
    examples = data['examples'].get_single_element()
    context = data['context'].get_single_element()
    state = data['state'].get_single_element() if 'state' in data else ()
    run_local_steps = build_local_steps(algorithm, model, optimizer, rule=rule, measure_gamma=measure_gamma)
    non_trainable, message = split_message(model, weights.non_trainable)
    received = Local(weights.trainable, weights.trainable, message, state)
    outcome = run_local_steps(received, non_trainable, hparams, examples, context)
    result, counts = _result(outcome.report, state, context)
    counts['num_gradients'] = outcome.num_gradients
    counts['num_floats'] = tf.constant(num_floats(weights.trainable, message, outcome.report), tf.int64)
    if measure_gamma:
      counts['gamma'] = tf.where(counts['num_clients'] > 0, outcome.gamma, 0.0)
    return result, counts

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


def _data_type(algorithm: Algorithm, model: LocalModel) -> tff.types.StructType:
  """Returns the type of a payload: sequences of one element each."""
  elements = collections.OrderedDict(examples=model.examples_spec, context=CONTEXT_SPEC)
  state = initial_client_state(algorithm, model)
  if state:
    elements['state'] = specs_of(state)
  types = {name: tff.SequenceType(tff.types.tensorflow_to_type(spec)) for name, spec in elements.items()}
  return tff.types.to_type(collections.OrderedDict(types))


def initial_client_state(algorithm: Algorithm, model: LocalModel) -> Any:
  """Returns what a client keeps before it first takes part, for the model's initial weights; () if it keeps nothing."""
  if algorithm.client.init is None:
    return ()
  return algorithm.client.init(_newcomer(model))


def _newcomer(model: LocalModel) -> Local:
  """Returns where a client stands that has nothing but the model's initial weights."""
  weights = model.initial_weights.trainable
  return Local(weights, weights, normalisation=model.normalisation, task_layers=model.task_layers, head=model.head)


def _result(report: Report, old_state: Any, context: Any) -> tuple[tff.learning.templates.ClientResult, Any]:
  """Returns the client's result and the counts that are summed over the cohort."""
  finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tf.nest.flatten(report)])
  weight = tf.where(finite, context['weight'], 0.0)
  contributes = weight > 0
  sent = report._replace(state=())
  sent = tf.nest.map_structure(lambda tensor: tf.where(contributes, tensor, tf.zeros_like(tensor)), sent)
  state = tf.nest.map_structure(lambda new, old: tf.where(contributes, new, old), report.state, old_state)
  counts = collections.OrderedDict(
    num_steps=context['num_steps'],
    non_finite=tf.cast(tf.logical_not(finite), tf.int32),
    num_clients=tf.cast(contributes, tf.int32),
  )
  return tff.learning.templates.ClientResult(_pack(sent._replace(state=state)), weight), counts


def _num_floats(tensors: Any) -> int:
  """Returns how many numbers tensors hold."""
  return sum(tensor.shape.num_elements() for tensor in map(tf.convert_to_tensor, tf.nest.flatten(tensors)))


def _pack(report: Report) -> Any:
  """Returns the parts of a report that there are: the update itself if there is nothing else."""
  parts = {name: part for name, part in report._asdict().items() if name == 'update' or tf.nest.flatten(part)}
  return collections.OrderedDict(parts) if len(parts) > 1 else report.update


def unpack(parts: Any) -> Report:
  """Returns the report of parts that were packed, be they of one client or a mean over clients."""
  return Report(**parts) if isinstance(parts, dict) else Report(parts)


def split_message(model: LocalModel, non_trainable: Any) -> tuple[Any, Any]:
  """Takes the algorithm's message from behind the model's weights that do not learn."""
  count = len(model.initial_weights.non_trainable)
  return tuple(non_trainable[:count]), tuple(non_trainable[count:])
