# SPDX-License-Identifier: Apache-2.0
"""The processes of a sweep, and how many of them a machine bears."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import RunFailedError
from fedprox_tff.machine import files
from fedprox_tff.machine.processes import node, start_of
from fedprox_tff.machine.resources import GIB
from fedprox_tff.sweeps.claims import Claims, Record

_PROCESS_BYTES = 1.5 * GIB  # of one process with TensorFlow, TFF and MNIST after some dozens of cells
_SYSTEM_BYTES = 1.0 * GIB
_SESSION = 'session.json'
_YOUNG_SECONDS = 60.0  # of a session that is not written yet, by the disk's clock
_BARREN = 3  # processes that ended without having claimed a cell, one after another: another one would, too


def default_jobs(configs: Sequence[Config], *, cores: int, memory: float) -> int:
  """Returns how many processes a machine bears: one for each core, as memory allows; one if they share a GPU.

  Args:
    configs: The cells.
    cores: The cores that may be used.
    memory: The bytes that are free.
  """
  if any(config.device == 'gpu' for config in configs):
    return 1
  fit = int((memory - _SYSTEM_BYTES) / _PROCESS_BYTES)
  return max(1, min(cores, fit, len(configs)))


class Pool:
  """Processes that work on one list of cells; each starts when it is needed and ends when no cell is free."""

  def __init__(self, folder: pathlib.Path, configs: Sequence[Config], *, jobs: int, claims: Claims):
    self._folder = folder / f'{time.strftime("%Y%m%d-%H%M%S")}-{socket.gethostname()}-{os.getpid()}'
    self._folder.mkdir(parents=True)
    _tidy_up_after_dead_sweeps(folder)
    self._session = self._folder / _SESSION
    self._claims = claims
    self.offer(configs)
    self._jobs, self._started, self._barren = jobs, 0, 0
    self._processes: dict[int, subprocess.Popen] = {}  # those that run, by their number

  def offer(self, configs: Sequence[Config]) -> None:
    """Tells the processes, those at work too, what there is to do."""
    session = {
      **{'node': node(), 'pid': os.getpid(), 'started': start_of(os.getpid())},
      **{'command': sys.orig_argv, 'claims': str(self._claims.folder), 'since': self._claims.since},
      'cells': [config.record() for config in configs],
    }
    files.write_text(self._session, json.dumps(session))

  def tend(self, records: Mapping[str, Record], num_free: int) -> None:
    """Buries the processes that ended and starts those that are needed.

    Args:
      records: The claims, to see which process has a cell.
      num_free: How many cells nobody works on.

    Raises:
      RunFailedError: If processes end one after another without having claimed a cell.
    """
    mine = [record for record in records.values() if record.node == node()]
    owners, busy = {record.pid for record in mine}, {record.pid for record in mine if record.state == 'running'}
    for number, process in list(self._processes.items()):
      if process.poll() is not None:
        del self._processes[number]
        self._barren = self._barren + 1 if process.returncode and process.pid not in owners else 0
        if self._barren == _BARREN:
          raise RunFailedError(f'the processes of the sweep end at once: {self._last_words(number)}')
    idle = sum(process.pid not in busy for process in self._processes.values())  # they still import TensorFlow
    for _ in range(min(self._jobs - len(self._processes), num_free - idle)):
      self._start()

  def stop(self) -> None:
    """Lets the processes save and end, and waits for them; a KeyboardInterrupt on the way kills them."""
    try:
      for process in self._processes.values():
        process.terminate()
      for process in self._processes.values():
        process.wait()
    except KeyboardInterrupt:
      for process in self._processes.values():
        process.kill()
      raise

  def close(self) -> None:
    """Removes the session; what its processes said outside of cells stays if they said something."""
    _tidy_up(self._folder)

  def _start(self) -> None:
    self._started += 1
    with self._log(self._started).open('wb') as log:
      self._processes[self._started] = subprocess.Popen(
        [sys.executable, '-m', 'fedprox_tff.sweeps.worker', str(self._session)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for the sweep, which then ends its processes
      )

  def _log(self, number: int) -> pathlib.Path:
    return self._folder / f'process-{number}.log'

  def _last_words(self, number: int) -> str:
    lines = self._log(number).read_text(errors='replace').strip().splitlines() or ['nothing']
    return f'{lines[-1]} ({self._log(number)})'


def _tidy_up(folder: pathlib.Path) -> None:
  """Removes a session, but for what its processes said."""
  for path in folder.glob('*'):
    if path.suffix != '.log' or not path.stat().st_size:
      path.unlink(missing_ok=True)
  with contextlib.suppress(OSError):
    folder.rmdir()
    folder.parent.rmdir()


def _tidy_up_after_dead_sweeps(sessions: pathlib.Path) -> None:
  """Removes the sessions of this machine's sweeps that were killed; their processes end when they find them gone."""
  for folder in sessions.iterdir():
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):  # no sweep wrote that
      path = folder / _SESSION
      if path.is_file():
        session = json.loads(path.read_text())
        is_dead = session['node'] == node() and start_of(session['pid']) != session['started']
      else:  # killed before it was written, or between what `_tidy_up` removes
        is_dead = sessions.stat().st_mtime - folder.stat().st_mtime > _YOUNG_SECONDS
      if is_dead:
        _tidy_up(folder)
