# SPDX-License-Identifier: Apache-2.0
"""What a process or an actor of a sweep does: it claims cell after cell until none is free.

It imports TensorFlow once, and keeps what the next cell can share: the runtime, compiled computations, the data. What a
cell says, C++ included, goes to its own log.
"""

import contextlib
import os
import pathlib
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import LockedError, RunFailedError, UserError, line_of
from fedprox_tff.machine import frameworks, scratch
from fedprox_tff.machine.console import DONE, FAILED, INTERRUPTED
from fedprox_tff.machine.patience import patiently
from fedprox_tff.sweeps import session_folder, status
from fedprox_tff.sweeps.claims import Claim, Claims
from fedprox_tff.training import data, run_folder
from fedprox_tff.training.progress import Progress


class Stop:
  """Whether the worker is to end: the round at work is finished and saved before."""

  def __init__(self):
    self.is_requested = False

  def request(self, *_) -> None:
    """Asks for it; may be a signal's handler, or called from another thread."""
    self.is_requested = True


class _InterruptedCellError(Exception):
  """The cell must be left: after a whole round, or before one is written if it is no longer ours."""


def work(path: pathlib.Path, stop: Stop, prepare: Callable[[], None] = lambda: None) -> int:
  """Works on the cells of a session until none is free, and returns an exit code.

  Args:
    path: The session's file.
    stop: Ends it early.
    prepare: Called when TensorFlow is imported and has not started.
  """
  try:
    begun = session_folder.read(path)
  except FileNotFoundError:  # the sweep has ended
    return INTERRUPTED
  sys.orig_argv[:] = begun.command  # what config.json shall say
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  frameworks.load()  # which takes seconds: before the first claim, so that others can have that cell
  from fedprox_tff.training.session import Session

  prepare()
  claims = Claims(status.claims_folder(begun.cells[0]), since=begun.since)
  with scratch.own(), Session() as session:
    code, recent = DONE, None
    done: set[Config] = set()  # cells that are known to be
    while code == DONE and not stop.is_requested:
      taken = patiently(lambda recent=recent: _take(session_folder.cells(path), claims, recent, done))
      if taken is None:
        return DONE
      recent, claim = taken
      code = _run(recent, claim, session, stop)
  return INTERRUPTED if stop.is_requested else code


def _take(
  configs: Sequence[Config], claims: Claims, recent: Config | None, done: set[Config]
) -> tuple[Config, Claim] | None:
  """Claims a free cell: one of the group of the last if there is one, else of its data, else of another group.

  Data come before what others work on: a process compiles each group once, but holds one federation at a time. Of two
  such groups the one that nobody works on comes first.
  """
  records = claims.records()
  held = {name for name, record in records.items() if claims.is_held(record)}
  busy = {status.group(config) for config in configs if config.name in held}
  free = [c for c in configs if not (c in done or c.name in held or claims.has_failed(records.get(c.name)))]

  def distance(config: Config) -> tuple[bool, ...]:
    group = status.group(config)
    own = recent is not None and group == status.group(recent)
    same_data = recent is not None and data.key(config) == data.key(recent)
    return not own, not same_data, group in busy

  for config in sorted(free, key=distance):  # stable
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
  def after_round() -> None:
    if stop.is_requested or claim.is_lost:
      raise _InterruptedCellError

  def before_writing() -> None:
    if not patiently(claim.is_mine):
      raise _InterruptedCellError

  try:
    with (
      session.open(config, before_writing=before_writing) as run,
      Progress(config.rounds, log, after_round=after_round) as progress,
    ):
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
