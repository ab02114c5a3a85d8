# SPDX-License-Identifier: Apache-2.0
"""What a sweep tells those that work for it, in a folder of its own beside the results.

.sweeps/<time>-<host>-<process>/session.json    what there is to do
                                process-N.log   what a process said outside of cells
"""

import contextlib
import json
import os
import pathlib
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from fedprox_tff.config.record import Config
from fedprox_tff.machine import files
from fedprox_tff.machine.processes import node, start_of
from fedprox_tff.training import run_folder

_FOLDER = '.sweeps'  # in the folder of results
_SESSION = 'session.json'
_YOUNG_SECONDS = 60.0  # of a session that is not written yet, by the disk's clock


class Session(NamedTuple):
  """What a sweep says of itself."""

  pid: int
  token: str  # which no other sweep has: who reads it sees this very folder
  command: list[str]
  since: float  # when it began, by the disk's clock
  cells: list[Config]


class SessionFolder:
  """The folder of this process's sweep.

  Attributes:
    path: The session's file.
    as_flags_say: The same as cells name it, whose ~ and relative paths may lead elsewhere on another machine.
    token: What it holds and no other session does.
  """

  def __init__(self, configs: Sequence[Config], *, since: float):
    name = f'{time.strftime("%Y%m%d-%H%M%S")}-{socket.gethostname()}-{os.getpid()}'
    self.as_flags_say = str(pathlib.Path(configs[0].results_dir, _FOLDER, name, _SESSION))
    self.path = run_folder.results_folder(configs[0]) / _FOLDER / name / _SESSION
    self._folder = self.path.parent
    self._folder.mkdir(parents=True)
    _tidy_up_after_dead_sweeps(self._folder.parent)
    self.token, self._since = secrets.token_hex(16), since
    self.offer(configs)

  def offer(self, configs: Sequence[Config]) -> None:
    """Tells all workers, those at work too, what there is to do."""
    session = {
      **{'node': node(), 'pid': os.getpid(), 'started': start_of(os.getpid()), 'token': self.token},
      **{'command': sys.orig_argv, 'since': self._since},
      'cells': [config.record() for config in configs],
    }
    files.write_text(self.path, json.dumps(session))

  def log(self, number: int) -> pathlib.Path:
    """Returns where a process says what belongs to no cell."""
    return self._folder / f'process-{number}.log'

  def close(self) -> None:
    """Removes the session; what its processes said outside of cells stays if they said something."""
    _tidy_up(self._folder)


def read(path: pathlib.Path) -> Session:
  """Returns the session in a file.

  Raises:
    FileNotFoundError: If its sweep has ended.
  """
  values = json.loads(path.read_text())
  cells = [Config.from_record(record) for record in values['cells']]
  return Session(values['pid'], values['token'], values['command'], values['since'], cells)


def cells(path: pathlib.Path) -> list[Config]:
  """Returns a session's cells, which become more where a search ends; none after the sweep's end."""
  try:
    return read(path).cells
  except FileNotFoundError:
    return []


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
