# SPDX-License-Identifier: Apache-2.0
"""A process of a sweep: python -m fedprox_tff.sweeps.worker SESSION, which `fedprox_tff.sweep` starts.

It imports TensorFlow once, then claims cell after cell until none is free, and keeps what the next cell can share: the
runtime, compiled computations, the data. What a cell says, C++ included, goes to its own log.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import LockedError, RunFailedError, UserError, line_of
from fedprox_tff.machine import scratch
from fedprox_tff.machine.console import DONE, FAILED, INTERRUPTED
from fedprox_tff.machine.patience import patiently
from fedprox_tff.sweeps import status
from fedprox_tff.sweeps.claims import Claim, Claims
from fedprox_tff.training import run_folder
from fedprox_tff.training.progress import Progress

_PR_SET_PDEATHSIG = 1


class Stop:
  """Set by a signal: the round at work is finished and saved, then the process ends.

  SIGTERM is how the sweep ends its processes, so that it is heard in any case; the others stay ignored if they are.
  """

  def __init__(self):
    self.is_requested = False
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
      if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, self._request)

  def _request(self, *_) -> None:
    self.is_requested = True


class _InterruptedCellError(Exception):
  """The cell must be left after a whole round."""


def main(argv: Sequence[str]) -> int:
  """Works on the session whose file is the argument, and returns an exit code."""
  stop = Stop()
  path = pathlib.Path(argv[1])
  try:
    begun = json.loads(path.read_text())
  except FileNotFoundError:  # the sweep has ended
    return INTERRUPTED
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # the sweep may be killed; its cells are to be left tidily
  if os.getppid() != begun['pid']:
    return INTERRUPTED
  sys.orig_argv[:] = begun['command']  # what config.json shall say
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  # TensorFlow takes seconds: it is imported before the first claim, so that others can have that cell.
  from fedprox_tff.training.session import Session

  claims = Claims(pathlib.Path(begun['claims']), since=begun['since'])
  with scratch.own(), Session() as session:
    code, recent = DONE, None
    done: set[Config] = set()  # cells that are known to be
    while code == DONE and not stop.is_requested:
      taken = patiently(lambda recent=recent: _take(_cells(path), claims, recent, done))
      if taken is None:
        return DONE
      recent, claim = taken
      code = _run(recent, claim, session, stop)
  return INTERRUPTED if stop.is_requested else code


def _cells(path: pathlib.Path) -> list[Config]:
  """Returns the session's cells, which become more where a search ends; none after the sweep's end."""
  try:
    return [Config.from_record(values) for values in json.loads(path.read_text())['cells']]
  except FileNotFoundError:
    return []


def _take(
  configs: Sequence[Config], claims: Claims, recent: Config | None, done: set[Config]
) -> tuple[Config, Claim] | None:
  """Claims a free cell: one of the group of the last if there is one, else of a group that nobody works on."""
  records = claims.records()
  held = {name for name, record in records.items() if claims.is_held(record)}
  busy = {status.group(config) for config in configs if config.name in held}
  mine = recent and status.group(recent)
  free = [c for c in configs if not (c in done or c.name in held or claims.has_failed(records.get(c.name)))]
  for config in sorted(free, key=lambda c: (status.group(c) != mine, status.group(c) in busy)):  # stable
    if status.is_locked(config):  # by an owner that was suspended, or by a run without a claim
      continue
    if status.seems_done(config):
      done.add(config)
      continue
    claim = claims.acquire(config.name)
    if claim and not status.seems_done(config):  # it may have been finished since
      return config, claim
    if claim:
      claim.finish()
  return None


def _run(config: Config, claim: Claim, session: Any, stop: Stop) -> int:
  """Runs one cell; says `FAILED` if whatever went wrong may have left its mark on this process."""
  try:
    with _output_to(config) as log:
      log.write(f'{time.strftime("%Y-%m-%d %H:%M:%S")}: process {os.getpid()} on {socket.gethostname()}\n')
      return _run_logged(config, claim, session, stop, log)
  except OSError as error:  # no log can be written
    claim.fail(line_of(error))
    return FAILED


def _run_logged(config: Config, claim: Claim, session: Any, stop: Stop, log: TextIO) -> int:
  def check() -> None:
    if stop.is_requested or claim.is_lost:
      raise _InterruptedCellError

  try:
    with session.open(config) as run, Progress(config.rounds, log, after_round=check) as progress:
      run.train(progress)
  except _InterruptedCellError:
    if status.seems_done(config):  # that was its last round
      claim.finish()
      return DONE
    log.write('left to another process\n' if claim.is_lost else 'interrupted; the same sweep goes on here\n')
    claim.release()
    return DONE
  except LockedError:
    log.write('left to the process that has its lock\n')
    claim.release()
    return DONE
  except (UserError, RunFailedError, OSError) as error:
    log.write(f'error: {line_of(error)}\n')
    claim.fail(line_of(error))
    return DONE if isinstance(error, UserError) else FAILED
  except Exception as error:
    log.write(traceback.format_exc())
    claim.fail(_line(error))
    return FAILED
  claim.finish()
  return DONE


def _line(error: Exception) -> str:
  return ' '.join(f'{type(error).__name__}: {error}'.split())


@contextlib.contextmanager
def _output_to(config: Config) -> Iterator[TextIO]:
  """Sends what this process writes to the cell's log for a while, also what C++ writes when it aborts."""
  path = run_folder.log_path(config)
  path.parent.mkdir(parents=True, exist_ok=True)
  streams = (sys.stdout, sys.stderr)
  with path.open('a', buffering=1) as log:
    kept = [os.dup(stream.fileno()) for stream in streams]
    try:
      for stream in streams:
        stream.flush()
        os.dup2(log.fileno(), stream.fileno())
      yield log
    finally:
      for stream, descriptor in zip(streams, kept, strict=True):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


if __name__ == '__main__':
  sys.exit(main(sys.argv))
