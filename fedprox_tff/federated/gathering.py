# SPDX-License-Identifier: Apache-2.0
"""Rounds of methods that communicate twice: clients first send what the server then sends to all of them.

The first time is a round as any other, in which clients take no step and the server does not move; its computation and
that of the round's work follow each other, since one TFF computation of both would fit only TFF's own runtime.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, Local, Report, gradient_direction, start_at_anchor
from fedprox_tff.core import tree
from fedprox_tff.federated.payloads import without_steps


def gathering(algorithm: Algorithm) -> Algorithm:
  """Returns the algorithm of the first communication: the mean of what clients gather becomes the message."""

  def finish(local: Local, hparams: Any) -> Report:
    return Report(tree.zeros_like(local.anchor), extra=algorithm.gather(local, hparams))

  return algorithm._replace(
    start=start_at_anchor,
    direction=gradient_direction,
    step=None,
    finish=finish,
    start_server=lambda weights: algorithm.start_server(weights)._replace(kept=()),
    update_server=lambda server, report, hparams: server._replace(message=report.extra),
    update_message=None,
  )


class GatheringProcess:
  """A process of two communications a round, with the methods of a `tff.learning.templates.LearningProcess`."""

  def __init__(self, gather: tff.learning.templates.LearningProcess, work: tff.learning.templates.LearningProcess):
    self._gather, self._work = gather, work
    self._idle_finalizer = None
    self.initialize = work.initialize
    self.get_model_weights, self.set_model_weights = work.get_model_weights, work.set_model_weights
    self.get_hparams, self.set_hparams = work.get_hparams, work.set_hparams

  def next(self, state: Any, payloads: Sequence[Any]) -> Any:
    """Runs both communications; the metrics are those of the second."""
    if self._idle_finalizer is None:
      self._idle_finalizer = self._gather.initialize().finalizer
    first = _with(state, state.global_model_weights, self._idle_finalizer)
    gathered = self._gather.next(first, [without_steps(payload) for payload in payloads]).state
    return self._work.next(_with(state, gathered.global_model_weights, state.finalizer), payloads)


def _with(state: Any, weights: Any, finalizer: Any) -> Any:
  """Returns a state with other weights, and another finalizer's state."""
  return tff.learning.templates.LearningAlgorithmState(
    weights, state.distributor, state.client_work, state.aggregator, finalizer
  )
