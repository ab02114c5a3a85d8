# SPDX-License-Identifier: Apache-2.0
"""Those who work for a sweep: each starts when it is needed and ends when no cell is free.

What they are is an engine's matter: `processes` on this machine, or `actors` on a cluster.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import RunFailedError
from fedprox_tff.machine.resources import GIB
from fedprox_tff.sweeps.claims import Record
from fedprox_tff.sweeps.session_folder import SessionFolder

WORKER_BYTES = 1.5 * GIB  # of one with TensorFlow, TFF and MNIST after some dozens of cells
_BARREN = 3  # workers that failed without having claimed a cell, one after another: another one would, too


class Worker(Protocol):
  """One that runs `worker.work`."""

  owner: tuple[str, int]  # what claims call it: node and process; ('', -1) as long as nobody knows
  has_failed: bool  # once it has ended

  def has_ended(self) -> bool:
    """Returns whether it is gone."""

  def last_words(self) -> str:
    """Returns why it failed, in one line."""

  def stop(self) -> None:
    """Asks it to save the round at work and end."""

  def wait(self) -> None:
    """Waits until it has ended."""

  def kill(self) -> None:
    """Ends it at once."""


class Engine(Protocol):
  """Where workers are."""

  noun: tuple[str, str]  # what one worker is called, and what many are

  def room(self, configs: Sequence[Config]) -> int:
    """Returns how many workers there is room for, at least one."""

  def hire(self, session: SessionFolder, number: int) -> Worker:
    """Starts a worker, the `number`-th of a session."""


class Pool:
  """The workers of one session."""

  def __init__(self, session: SessionFolder, engine: Engine, *, jobs: int):
    self._session, self._engine = session, engine
    self._jobs, self._hired, self._barren = jobs, 0, 0
    self._workers: list[Worker] = []

  def tend(self, records: Mapping[str, Record], num_free: int) -> None:
    """Buries the workers that ended and starts those that are needed.

    Args:
      records: The claims, to see which worker has a cell.
      num_free: How many cells nobody works on.

    Raises:
      RunFailedError: If workers end one after another without having claimed a cell.
    """
    owners = {(record.node, record.pid) for record in records.values()}
    busy = {(record.node, record.pid) for record in records.values() if record.state == 'running'}
    for worker in [worker for worker in self._workers if worker.has_ended()]:
      self._workers.remove(worker)
      self._barren = self._barren + 1 if worker.has_failed and worker.owner not in owners else 0
      if self._barren == _BARREN:
        raise RunFailedError(f'the {self._engine.noun[1]} of the sweep end at once: {worker.last_words()}')
    idle = sum(worker.owner not in busy for worker in self._workers)  # they still import TensorFlow
    for _ in range(min(self._jobs - len(self._workers), num_free - idle)):
      self._hired += 1
      self._workers.append(self._engine.hire(self._session, self._hired))

  def stop(self) -> None:
    """Lets the workers save and end, and waits for them; a KeyboardInterrupt on the way kills them."""
    try:
      for worker in self._workers:
        worker.stop()
      for worker in self._workers:
        worker.wait()
    except KeyboardInterrupt:
      for worker in self._workers:
        worker.kill()
      raise
