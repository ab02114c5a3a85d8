# SPDX-License-Identifier: Apache-2.0
"""Rounds of any process, in whatever runtime: the one place that clients' states go through.

What a client keeps between rounds is read when the client is about to work, and kept as soon as it has worked. In this
process that is one small group of clients after another, so that the states of a cohort need not be in memory all at
once. TFF's worker takes all of them at the beginning of a round, and returns all of them at its end.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_federated as tff

from fedprox_tff.federated.gathering import GatheringProcess
from fedprox_tff.federated.guarded_process import GuardedProcess
from fedprox_tff.federated.process import Process
from fedprox_tff.federated.runtimes import Runtime
from fedprox_tff.federated.runtimes.client_values import returns_client_values
from fedprox_tff.federated.runtimes.context import Errands

ReadState = Callable[[int], Any]  # the place of a client in the cohort -> what it has kept
KeepState = Callable[[int, Any], None]  # the same, and what it keeps from now on


class Rounds:
  """Iterates a process in the runtime in use."""

  def __init__(self, process: Process, runtime: Runtime):
    self._process, self._runtime = process, runtime

  def next(
    self,
    state: Any,
    cohort: Sequence[Any],
    read_state: ReadState,
    keep_state: KeepState,
    errands: Errands | None = None,
  ) -> tuple[Any, Any]:
    """Runs a round.

    Args:
      state: The process's state.
      cohort: The payloads of `client_payload`, without clients' states.
      read_state: Returns what a client has kept; called for each communication of a client, from any thread, and again
        if a worker of a cluster died over it.
      keep_state: Is told what a client keeps now; a client that was left out keeps what it had. Neither is called for
        methods whose clients keep nothing.
      errands: Where clients work on other machines, and states are on a disk that these share: takes the place of
        `keep_state`, and `read_state` returns the initial state.

    Returns:
      The process's next state, and its metrics.

    Raises:
      ValueError: If the method is not defined for such a round.
    """
    if isinstance(self._process, GuardedProcess):
      self._process.check(cohort)
    return self._next(state, cohort, read_state, keep_state, errands)

  def rehearse(self, state: Any, cohort: Sequence[Any], client_state: Any) -> None:
    """Runs a round that is forgotten, so that it is compiled; the method need not be defined for it.

    Args:
      state: The process's state.
      cohort: Payloads, as for `next`.
      client_state: What each of the clients has kept.
    """
    self._next(state, cohort, lambda place: client_state, _forget, None)

  def _next(
    self, state: Any, cohort: Sequence[Any], read_state: ReadState, keep_state: KeepState, errands: Errands | None
  ) -> tuple[Any, Any]:
    process = self._process.unguarded if isinstance(self._process, GuardedProcess) else self._process

    def run(comp: tff.Computation, state: Any, payloads: Sequence[Any], keeps: bool) -> Any:
      if not returns_client_values(comp):
        return comp(state, payloads)
      if keeps:
        return self._runtime.run_round(comp, state, payloads, read_state, keep_state, errands=errands)
      reading = None if errands is None else _ReadOnly(errands)
      return self._runtime.run_round(comp, state, payloads, read_state, _forget, errands=reading)

    if isinstance(process, GatheringProcess):
      output = process.communicate(run, state, cohort)
    else:
      output = run(process.next, state, cohort, True)
    return output.state, output.metrics


class _ReadOnly:
  """Errands that leave what clients keep as it is."""

  def __init__(self, errands: Errands):
    self._errands = errands

  def of(self, client: int) -> Any:
    return self._errands.of(client).reading()

  def done(self, client: int, receipt: Any) -> None:
    del client, receipt


def _forget(place: int, state: Any) -> None:
  del place, state
