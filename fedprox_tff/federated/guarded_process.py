# SPDX-License-Identifier: Apache-2.0
"""Rounds of methods that are defined for all clients, or for the plain mean: any other round is refused.

TFF's server sees sums only, and could not tell. The payloads are seen here, before a round begins, so that it leaves no
trace when it is refused.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow_federated as tff

from fedprox_tff.algorithms import needs
from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.federated.gathering import GatheringProcess
from fedprox_tff.federated.stateful_process import StatefulProcess


def is_guarded(algorithm: Algorithm) -> bool:
  """Returns whether a method is defined for some rounds only."""
  return algorithm.needs.all_clients or algorithm.needs.plain_mean


class GuardedProcess:
  """A process that refuses rounds which its method is not defined for, with the methods of what it guards.

  Attributes:
    unguarded: The process itself, which takes any round.
    initial_client_state: As in `StatefulProcess`, for methods with client state; otherwise ().
  """

  def __init__(
    self,
    process: tff.learning.templates.LearningProcess | StatefulProcess | GatheringProcess,
    algorithm: Algorithm,
    num_clients: int | None,
  ):
    """Guards a process.

    Args:
      process: The process.
      algorithm: Its method.
      num_clients: N, the number of clients of the federation, if the method needs all of them.
    """
    self.unguarded = process
    self._name, self._needs, self._num_clients = algorithm.name, algorithm.needs, num_clients
    self.initial_client_state = getattr(process, 'initial_client_state', ())
    self.initialize = process.initialize
    self.get_model_weights, self.set_model_weights = process.get_model_weights, process.set_model_weights
    self.get_hparams, self.set_hparams = process.get_hparams, process.set_hparams

  def next(self, state: Any, payloads: Sequence[Any]) -> Any:
    """Runs a round.

    Raises:
      ValueError: If the method is not defined for it.
    """
    self.check(payloads)
    return self.unguarded.next(state, payloads)

  def check(self, payloads: Sequence[Any]) -> None:
    """Refuses the payloads of a round that the method is not defined for.

    A client without examples has nothing to take part with, and its weight is 0.

    Raises:
      ValueError: If it is not; it says what came and what is needed.
    """
    contexts = [context for payload in payloads for context in payload['context']]
    weights = {float(context['weight']) for context in contexts if context['num_examples'] > 0}
    if self._needs.all_clients:
      all_clients = f'{needs.of_all_clients(self._name)}, {self._num_clients}'
      if len(payloads) != self._num_clients:
        raise ValueError(f'A round of {len(payloads)} payloads: {all_clients}.')
      if 0.0 in weights:
        raise ValueError(f'A payload of weight 0, which leaves its client out: {all_clients}.')
    if self._needs.plain_mean and len(weights) > 1:
      raise ValueError(
        f'Payloads of the weights {min(weights):.7g} to {max(weights):.7g}: {needs.of_plain_mean(self._name)}; '
        'client_payload(..., weight=1.0) makes them equal.'
      )
