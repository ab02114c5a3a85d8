# SPDX-License-Identifier: Apache-2.0
"""One-dimensional problems whose federated rounds can be worked out by hand.

Client k's loss is the mean over its examples (a, b) of a/2 (x - b)^2.

Q: F_1 = x^2 / 2 and F_2 = 3/2 (x - 4)^2, weighted alike; lr = 0.25, two full-gradient steps, from x = 0.
W: F_1 = x^2 / 2 with one example and F_2 = (x - 4)^2 / 2 with three; lr = 0.5, two full-gradient steps, from x = 2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process

Q = [(1.0, 0.0, 1), (3.0, 4.0, 1)]  # (a, b, number of examples) of each client
W = [(1.0, 0.0, 1), (1.0, 4.0, 3)]
STEPS = 2
NUM_CLIENTS = 2


def quadratic(start):
  """Returns the problem as TFF's kind of model, with x at `start`."""

  @tf.function
  def predict_on_batch(weights, x, training):
    del training
    (w,), _ = weights
    return tf.stack([x, tf.zeros_like(x) + w], axis=1)

  @tf.function
  def loss(output, label, sample_weight=None):
    del sample_weight
    return tf.reduce_mean(output[:, 0] / 2 * (output[:, 1] - label) ** 2)

  return tff.learning.models.FunctionalModel(
    initial_weights=((np.float32(start),), ()),
    predict_on_batch_fn=predict_on_batch,
    loss_fn=loss,
    input_spec=(tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.float32)),
  )


def process(algorithm, *, start, learning_rate, momentum=None, **kwargs):
  """Returns the process of an algorithm on a quadratic; `momentum` is that of the clients' optimizer."""
  optimizer = None if algorithm.needs.own_step_size else tff.learning.optimizers.build_sgdm(learning_rate, momentum)
  kwargs = {'num_clients': NUM_CLIENTS} | kwargs
  return build_process(algorithm, quadratic(start), client_optimizer=optimizer, **kwargs)


def on_any_clients(process):
  """Returns the process that takes rounds of any clients, also of a method that is defined for all of them only."""
  return getattr(process, 'unguarded', process)


def payloads(clients, *, uniform=False, num_steps=None):
  """Returns the payloads of a round of full-gradient steps: all of a client's examples are one batch."""
  result = []
  for k, (a, b, n) in enumerate(clients):
    examples = (np.full(n, a, np.float32), np.full(n, b, np.float32))
    steps = STEPS if num_steps is None else num_steps[k]
    weight = 1.0 if uniform else None
    result.append(
      client_payload(examples, num_epochs=STEPS, batch_size=8, key=(0, 0, k), num_steps=steps, weight=weight)
    )
  return result


def weight_of(process, state):
  """Returns x."""
  return float(process.get_model_weights(state).trainable[0])


def trained(state):
  """Returns x from which training goes on, which for FedExP is not what is evaluated."""
  return float(state.global_model_weights.trainable[0])


class Asked(NamedTuple):
  """A batch, or all examples, whose gradient and losses a test says."""

  gradient: Callable[..., Any] = lambda at: at
  gradient_of: Callable[..., Any] | None = None
  loss: Callable[..., Any] | None = None
  other: Any = None
  losses: Callable[..., Any] | None = None
  move_statistics: Callable[..., Any] = lambda before, after: after


class Federation:
  """A process at work: the server's state, and what each client keeps."""

  def __init__(self, process):
    self.process, self.state = process, process.initialize()
    self.client_states = {}
    self.metrics = None

  def play(self, payloads, clients=None, weigh=None):
    """Plays a round with the payloads of `clients`, by default 0, 1, ...; returns x, or `weigh` of the federation."""
    clients = range(len(payloads)) if clients is None else clients
    initial = getattr(self.process, 'initial_client_state', ())
    states = [self.client_states.get(client, initial) for client in clients]
    with_states = [
      dict(payload, state=[state]) if state else payload for payload, state in zip(payloads, states, strict=True)
    ]
    output = self.process.next(self.state, with_states)
    self.state, self.metrics = output.state, output.metrics
    if initial:
      self.client_states |= dict(zip(clients, output.client_states, strict=True))
    return trained(self.state) if weigh is None else weigh(self)

  def kept(self, client):
    """Returns the numbers that a client keeps."""
    return [float(x) for leaf in tf.nest.flatten(self.client_states[client]) for x in np.ravel(leaf)]


def message_of(federation):
  """Returns the number that the server of a federation sends beside x."""
  return float(federation.state.global_model_weights.non_trainable[0])


def run(process, rounds, *args, **kwargs):
  """Returns x after each round."""
  federation = Federation(process)
  return [federation.play(payloads(*args, **kwargs)) for _ in range(rounds)]
