# SPDX-License-Identifier: Apache-2.0
"""Clients' own models that local steps make when they are evaluated, each from its client's training examples.

So every client has one, and not only those that have taken part. The steps are those of a round: the same batches in
an order of their own, which belongs to round 0, when nobody trains.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, ClientRule, Local, Report
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.local_model import LocalModel
from fedprox_tff.federated.local_steps import build_local_steps
from fedprox_tff.federated.passes import GradientRule
from fedprox_tff.federated.payloads import client_payload

# (the weights to start from, hyperparameters, examples of all clients, a payload's context) -> the adapted weights
Adapt = Callable[[Weights, Mapping[str, Any], Any, Mapping[str, Any]], Weights]


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
  client = ClientRule(
    hparams=algorithm.client.hparams,
    step=algorithm.client.adapt.step,
    finish=lambda local, examples, hparams: Report(local.weights),
  )
  run_local_steps = build_local_steps(algorithm._replace(client=client), model, optimizer, rule=rule)

  @tf.function(reduce_retracing=True)
  def adapt(weights, hparams, examples, context):
    non_trainable = tuple(map(tf.constant, model.initial_weights.non_trainable))
    return run_local_steps(Local(weights, weights), non_trainable, hparams, examples, context).report.update

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
  examples: Any, rows: range, *, epochs: int, batch_size: int, seed: int, client: int
) -> Mapping[str, tf.Tensor]:
  """Returns what a client's local steps of an evaluation need to know, as in a payload.

  Args:
    examples: Of all clients.
    rows: Which of them are the client's.
    epochs: How many epochs it trains.
    batch_size: B.
    seed: The run's.
    client: Its index.
  """
  payload = client_payload(examples, rows=rows, num_epochs=epochs, batch_size=batch_size, key=(seed, 0, client))
  (context,) = payload['context']
  return {name: tf.convert_to_tensor(np.asarray(value)) for name, value in context.items()}
