# SPDX-License-Identifier: Apache-2.0
"""The processes of a sweep on this machine, and how many of them it bears."""

import subprocess
import sys
from collections.abc import Sequence

from fedprox_tff.config.record import Config
from fedprox_tff.machine.processes import node
from fedprox_tff.machine.resources import GIB, free_memory, usable_cores
from fedprox_tff.sweeps.pool import WORKER_BYTES
from fedprox_tff.sweeps.session_folder import SessionFolder

_SYSTEM_BYTES = 1.0 * GIB


def default_jobs(configs: Sequence[Config], *, cores: int, memory: float) -> int:
  """Returns how many processes a machine bears: one for each core, as memory allows; one if they share a GPU.

  Args:
    configs: The cells.
    cores: The cores that may be used.
    memory: The bytes that are free.
  """
  if any(config.device == 'gpu' for config in configs):
    return 1
  fit = int((memory - _SYSTEM_BYTES) / WORKER_BYTES)
  return max(1, min(cores, fit, len(configs)))


class Processes:
  """This machine, as an engine of a sweep; see `pool.Engine`."""

  noun = ('process', 'processes')

  def room(self, configs: Sequence[Config]) -> int:
    """Returns how many processes this machine bears."""
    return default_jobs(configs, cores=usable_cores(), memory=free_memory())

  def hire(self, session: SessionFolder, number: int) -> 'Process':
    """Starts a process."""
    return Process(session, number)


class Process:
  """A process of a sweep; see `pool.Worker`."""

  def __init__(self, session: SessionFolder, number: int):
    self._log = session.log(number)
    with self._log.open('wb') as log:
      self._process = subprocess.Popen(
        [sys.executable, '-m', 'fedprox_tff.sweeps.worker_process', str(session.path)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for the sweep, which then ends its processes
      )
    self.owner = (node(), self._process.pid)

  def has_ended(self) -> bool:
    """Returns whether the process is gone."""
    return self._process.poll() is not None

  @property
  def has_failed(self) -> bool:
    """Whether it ended with an exit code other than 0."""
    return bool(self._process.returncode)

  def last_words(self) -> str:
    """Returns the last line of what it said outside of cells, and where more of that is."""
    lines = self._log.read_text(errors='replace').strip().splitlines() or ['nothing']
    return f'{lines[-1]} ({self._log})'

  def stop(self) -> None:
    """Lets it save the round at work and end."""
    self._process.terminate()

  def wait(self) -> None:
    """Waits for its end."""
    self._process.wait()

  def kill(self) -> None:
    """Ends it at once."""
    self._process.kill()
