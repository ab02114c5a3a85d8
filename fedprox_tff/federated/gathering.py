# SPDX-License-Identifier: Apache-2.0
"""Rounds of methods that communicate twice: clients first send what the server then sends to all of them.

The first time is a round as any other, in which clients take no step and the server does not move; its computation and
that of the round's work follow each other, since one TFF computation of both would fit only TFF's own runtime.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, ClientRule, Examples, Hparams, Local, Report, ServerRule
from fedprox_tff.core import tree
from fedprox_tff.federated.payloads import without_steps
from fedprox_tff.federated.stateful_process import StatefulProcess

# (computation of a communication, the server's state, payloads, whether clients keep what comes of it) -> its output
Communication = Callable[[tff.Computation, Any, Sequence[Any], bool], Any]


def gathering(algorithm: Algorithm) -> Algorithm:
  """Returns the algorithm of the first communication: the mean of what clients gather becomes the message.

  Clients may use their state, and do not change it.
  """

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    gathered = algorithm.client.gather(local, examples, hparams)
    return Report(tree.zeros_like(local.anchor), extra=gathered, state=local.state)

  join = algorithm.server.gathered or (lambda message, mean: mean)
  return algorithm._replace(
    client=ClientRule(hparams=algorithm.client.hparams, init=algorithm.client.init, finish=finish),
    server=ServerRule(
      hparams=algorithm.server.hparams,
      init=lambda weights: algorithm.server.init(weights)._replace(kept=()),
      update=lambda server, report, hparams: server._replace(message=join(server.message, report.extra)),
      evaluated=None,
    ),
  )


class GatheringProcess:
  """A process of two communications a round, with the methods of a `tff.learning.templates.LearningProcess`.

  Attributes:
    initial_client_state: As in `StatefulProcess`, for methods with client state; otherwise ().
  """

  def __init__(
    self,
    gather: tff.learning.templates.LearningProcess | StatefulProcess,
    work: tff.learning.templates.LearningProcess | StatefulProcess,
  ):
    self._gather, self._work = gather, work
    self._idle_finalizer = None
    self.initial_client_state = getattr(work, 'initial_client_state', ())
    self.initialize = work.initialize
    self.get_model_weights, self.set_model_weights = work.get_model_weights, work.set_model_weights
    self.get_hparams, self.set_hparams = work.get_hparams, work.set_hparams

  def next(self, state: Any, payloads: Sequence[Any]) -> Any:
    """Runs both communications; the output is that of the second, with what both have cost."""
    return self.communicate(lambda comp, state, payloads, keeps: comp(state, payloads), state, payloads)

  def communicate(self, run: Communication, state: Any, payloads: Sequence[Any]) -> Any:
    """Runs both communications, each by `run`."""
    if self._idle_finalizer is None:
      self._idle_finalizer = self._gather.initialize().finalizer
    first = _with(state, state.global_model_weights, self._idle_finalizer)
    gathered = run(self._gather.next, first, [without_steps(payload) for payload in payloads], False)
    state = _with(state, gathered.state.global_model_weights, state.finalizer)
    output = run(self._work.next, state, payloads, True)
    for cost in ('num_gradients', 'num_floats'):
      output.metrics['client_work'][cost] += gathered.metrics['client_work'][cost]
    return output


def _with(state: Any, weights: Any, finalizer: Any) -> Any:
  """Returns a state with other weights, and another finalizer's state."""
  return tff.learning.templates.LearningAlgorithmState(
    weights, state.distributor, state.client_work, state.aggregator, finalizer
  )
