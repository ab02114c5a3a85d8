# SPDX-License-Identifier: Apache-2.0
"""Clients' own models that local steps make when they are evaluated, each from its client's training examples.

So every client has one, and not only those that have taken part. The steps are those of a round: the same batches in
an order of their own, which belongs to round 0, when nobody trains.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Adaptation, Algorithm, ClientRule, Local, Report
from fedprox_tff.core import batches, graphs
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.client_model import LocalModel
from fedprox_tff.federated.client_work import CONTEXT_SPEC
from fedprox_tff.federated.local_steps import build_local_steps, specs_of
from fedprox_tff.federated.passes import GradientRule
from fedprox_tff.federated.payloads import client_payload

# (the weights to start from, those that do not learn, hyperparameters, examples of all clients, a payload's context)
# -> the adapted weights
Adapt = Callable[[Weights, Weights, Mapping[str, Any], Any, Mapping[str, Any]], Weights]


def build_adaptation(
  algorithm: Algorithm, model: LocalModel, optimizer: tff.learning.optimizers.Optimizer, rule: GradientRule
) -> Adapt:
  """Returns the function that takes the local steps of `algorithm.client.adapt`.

  Args:
    algorithm: The method.
    model: Its model.
    optimizer: The client optimizer.
    rule: What becomes of every gradient.
  """
  own_step_size = algorithm.client.adapt.own_step_size
  if own_step_size:
    optimizer = tff.learning.optimizers.build_sgdm(learning_rate=1.0)
  client = ClientRule(
    hparams=algorithm.client.hparams,
    step=algorithm.client.adapt.step,
    finish=lambda local, examples, hparams: Report(local.weights),
  )
  run_local_steps = build_local_steps(algorithm._replace(client=client), model, optimizer, rule=rule)

  @functools.cache
  def traced(names: tuple[str, ...]) -> Any:
    """Returns the graph, for hyperparameters of these names: one for the examples of any data set and any batches."""
    weights_specs = tuple(specs_of(model.initial_weights))
    scalars = dict.fromkeys(names, tf.TensorSpec([], tf.float32))
    specs = (*weights_specs, scalars, model.examples_spec, CONTEXT_SPEC)

    @tf.function(input_signature=tf.nest.flatten(specs), autograph=False)
    def run(*tensors):
      weights, non_trainable, hparams, examples, context = tf.nest.pack_sequence_as(specs, tensors)
      if own_step_size:
        hparams = {**hparams, 'learning_rate': tf.constant(1.0)}
      return run_local_steps(Local(weights, weights), non_trainable, hparams, examples, context).report.update

    return run.get_concrete_function()

  def adapt(weights, non_trainable, hparams, examples, context):
    tensors = tf.nest.flatten((weights, non_trainable, dict(hparams), examples, context))
    return tuple(graphs.call(traced(tuple(hparams)), tensors))

  return adapt


class AdaptedModels(Mapping[int, Weights]):
  """The own model of each client, adapted when it is read."""

  def __init__(self, adapt: Callable[[int], Weights], num_clients: int):
    """Says how models are made.

    Args:
      adapt: From the index of a client to its model.
      num_clients: N.
    """
    self._adapt, self._num_clients = adapt, num_clients

  def __getitem__(self, client: int) -> Weights:
    return self._adapt(client)

  def __iter__(self) -> Iterator[int]:
    return iter(range(self._num_clients))

  def __len__(self) -> int:
    return self._num_clients


def context_of(
  adaptation: Adaptation, examples: Any, rows: range, *, batch_size: int, seed: int, client: int
) -> Mapping[str, tf.Tensor]:
  """Returns what a client's local steps of an evaluation need to know, as in a payload.

  Args:
    adaptation: How many local steps the client takes.
    examples: Of all clients.
    rows: Which of them are the client's.
    batch_size: B.
    seed: The run's.
    client: Its index.
  """
  all_steps = adaptation.epochs * batches.steps_per_epoch(len(rows), batch_size)
  payload = client_payload(
    examples,
    rows=rows,
    num_epochs=adaptation.epochs,
    num_steps=all_steps if adaptation.num_steps is None else min(adaptation.num_steps, all_steps),
    batch_size=batch_size,
    key=(seed, 0, client),
  )
  (context,) = payload['context']
  return {name: tf.convert_to_tensor(np.asarray(value)) for name, value in context.items()}
