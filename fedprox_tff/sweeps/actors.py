# SPDX-License-Identifier: Apache-2.0
"""The workers of a sweep on a Ray cluster: Ray finds a node for each, and claims say who works on what.

Ray's opinion of an actor counts for its place alone. One whose link is cut is dead to Ray and may work on; its cells
are its own as long as it touches its claims.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fedprox_tff.cluster import connection, place
from fedprox_tff.cluster.versions import versions
from fedprox_tff.config.record import Config
from fedprox_tff.core import threads
from fedprox_tff.core.errors import RunFailedError
from fedprox_tff.machine.resources import GIB
from fedprox_tff.sweeps.pool import WORKER_BYTES
from fedprox_tff.sweeps.session_folder import SessionFolder
from fedprox_tff.sweeps.worker_actor import About, Job, WorkerActor

_PATIENCE_SECONDS = 30.0  # with a cluster that has not placed an actor
_TICK_SECONDS = 0.5
_EXCEPTION = re.compile(r'[\w.]+(Error|Exception): ')  # the last line of a traceback


@contextlib.contextmanager
def joined(
  address: str, gpus_per_job: float | None, configs: Sequence[Config], say: Callable[[str], None]
) -> Iterator['Actors']:
  """Joins a cluster for the block, and yields it as an engine of a sweep.

  Args:
    address: Which one; see `connection.joined`.
    gpus_per_job: The GPUs, or the share of one, that an actor has if there are cells with device 'gpu'; None: 1.
    configs: The cells.
    say: Is told what a user should know.

  Raises:
    UserError: If there is no such cluster.
  """
  with connection.joined(address, '--engine=ray') as ray:
    yield Actors(ray, gpus=gpus_per_job or 1.0 if any(c.device == 'gpu' for c in configs) else 0.0, say=say)


class Actors:
  """A Ray cluster, as an engine of a sweep; see `pool.Engine`."""

  noun = ('actor', 'actors')

  def __init__(self, ray: Any, *, gpus: float, say: Callable[[str], None]):
    self.ray, self._gpus, self._say = ray, gpus, say
    most = max((node['Resources'].get('memory', 0.0) for node in connection.nodes(ray)), default=WORKER_BYTES)
    self._memory = min(WORKER_BYTES, most)
    self._refused: dict[str, str] = {}  # by Ray's name of a node, why
    self.head = connection.Head(ray)
    self._waiting: set[int] = set()  # actors for which the cluster has had no room for a while

  def room(self, configs: Sequence[Config]) -> int:
    """Returns how many actors the nodes bear, one for each core, as GPUs and memory of each node allow."""
    del configs
    return max(1, sum(self._fit(node) for node in connection.nodes(self.ray)))

  def hire(self, session: SessionFolder, number: int) -> 'Actor':
    """Asks the cluster for an actor.

    Raises:
      RunFailedError: If all nodes are refused.
    """
    hosts = [node['NodeID'] for node in connection.nodes(self.ray) if self._fit(node)]
    if hosts and all(host in self._refused for host in hosts):
      raise RunFailedError(f'no node is left to work on: {self._refused[hosts[-1]]}.')
    labels = {'ray.io/node-id': f'!in({", ".join(self._refused)})'} if self._refused else None
    remote = self.ray.remote(WorkerActor).options(
      num_cpus=1,
      num_gpus=self._gpus,
      memory=int(self._memory),
      max_restarts=0,
      max_task_retries=0,
      max_concurrency=2,  # `stop` is heard while `work` is at work
      scheduling_strategy='SPREAD',
      label_selector=labels,
    )
    job = Job(
      session.as_flags_say,
      session.token,
      place=place.here(),
      threads=str(threads.wanted()),
      versions=versions(),
    )
    return Actor(self, remote.remote(job), number)

  def refuse(self, node_id: str, refusal: str) -> None:
    """Places no more actors on a node, and says once why."""
    if node_id not in self._refused:
      (node,) = [node for node in self.ray.nodes() if node['NodeID'] == node_id]
      host, name = node['NodeManagerHostname'], node['NodeName']
      reason = f'node {host}{f" ({name})" if name != host else ""} {refusal}'
      self._refused[node_id] = reason
      self._say(f'warning: {reason}; it is left out')

  def note_waiting(self, number: int, is_waiting: bool) -> None:
    """Says once that the cluster has no room, until it has had room for all."""
    if not is_waiting:
      self._waiting.discard(number)
      return
    if not self._waiting:
      gpus = f', {self._gpus:g} GPU' if self._gpus else ''
      needs = f'1 CPU{gpus} and {self._memory / GIB:.1f} GiB of memory'
      self._say(f'the cluster has no room for another actor; it joins when there is some: each takes {needs}')
    self._waiting.add(number)

  def _fit(self, node: dict[str, Any]) -> int:
    """Returns how many actors fit on a node that has nothing else to do."""
    has = node['Resources']
    fit = min(has.get('CPU', 0.0), has.get('memory', 0.0) / max(1.0, self._memory))
    return int(min(fit, has.get('GPU', 0.0) / self._gpus) if self._gpus else fit)


class Actor:
  """An actor of a sweep; see `pool.Worker`."""

  def __init__(self, engine: Actors, actor: Any, number: int):
    self.owner, self.has_failed = ('', -1), False
    self._engine, self._actor, self._number, self._words = engine, actor, number, ''
    self._since, self._is_placed = time.monotonic(), False
    self._promise = actor.about.remote()  # what it has to answer next; None when it is gone

  def has_ended(self) -> bool:
    """Returns whether the actor is gone; lets one that has come begin."""
    self._engine.head.check()
    if self._promise is not None and self._is_answered(0):
      self._hear()
    if not self._is_placed:
      is_waiting = self._promise is not None and time.monotonic() - self._since > _PATIENCE_SECONDS
      self._engine.note_waiting(self._number, is_waiting)
    return self._promise is None

  def last_words(self) -> str:
    """Returns what Ray says of its end."""
    return self._words

  def stop(self) -> None:
    """Lets it save the round at work and end; one that has not begun is ended."""
    if not self._is_placed:
      self.kill()
    elif self._promise is not None:
      self._actor.stop.remote()

  def wait(self) -> None:
    """Waits until it has ended, or is dead to Ray."""
    while self._promise is not None:
      self._engine.head.check()
      if self._is_answered(_TICK_SECONDS):
        self._hear()

  def kill(self) -> None:
    """Ends it at once."""
    self._engine.ray.kill(self._actor)
    self._promise = None

  def _is_answered(self, seconds: float) -> bool:
    return bool(self._engine.ray.wait([self._promise], timeout=seconds)[0])

  def _hear(self) -> None:
    """Hears its answer: who it is, or how its work ended."""
    try:
      answer = self._engine.ray.get(self._promise)
    except self._engine.ray.exceptions.RayError as error:
      self.has_failed, self._words = True, _words(error)
      if not self._is_placed and 'Traceback' in str(error):  # as where our package is missing
        self._engine.refuse(self._node_id(), f'cannot start an actor ({self._words})')
        self.has_failed = False
      self.kill()
      return
    if not isinstance(answer, About):
      self.has_failed, self._words = bool(answer), f'exit code {answer}'
      self.kill()
      return
    self.owner, self._is_placed = answer.owner, True
    self._engine.note_waiting(self._number, False)
    if answer.refusal:
      self._engine.refuse(answer.node_id, answer.refusal)
      self.kill()
    else:
      self._promise = self._actor.work.remote()

  def _node_id(self) -> str:
    """Returns the node on which Ray has started the actor, or tried to."""
    return self._engine.ray._private.state.actors(actor_id=self._actor._actor_id.hex())['Address']['NodeID']


def _words(error: Exception) -> str:
  """Returns one line of what Ray says: the exception of ours in it, or the end."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
  ours = [line for line in lines if _EXCEPTION.match(line)]
  return (ours or lines)[-1]
