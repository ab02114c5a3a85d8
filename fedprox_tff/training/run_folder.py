# SPDX-License-Identifier: Apache-2.0
"""A run's folder: what made it, one row a round, and how far it is.

    config.json    every value, package versions, source revision, command line, where the data came from
    metrics.csv    one row for each round from 0, before training; the same columns in all
    tensorboard/   the same values
    checkpoints/   the newest states of the process
    client_states/ one file per client that has taken part, for methods with client state such as SCAFFOLD
    damaged/       what was damaged and passed over, if anything ever was
    log.txt        what a sweep's process said while it worked on the run

The rows are exactly-once: a run that was killed at any moment and is started again rewrites those after its checkpoint.
Nothing here needs TensorFlow; `tensorboard` and `checkpoints` do.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from fedprox_tff.config.record import Config
from fedprox_tff.core import threads
from fedprox_tff.core.errors import DamagedError, LockedError, UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.machine import files, locks
from fedprox_tff.training import checkpoint_file, config_file, metrics_file
from fedprox_tff.training.metrics_file import MetricsFile

_LOCK = '.lock'  # the file whose lock the process at work holds
_ASIDE = 'damaged'


class RunFolder:
  """The folder of one run, locked while it is open."""

  def __init__(
    self,
    path: pathlib.Path,
    config: Config,
    record: dict[str, Any],
    notes: list[str],
    *,
    before_writing: Callable[[], None] = lambda: None,
  ):
    """Opens the folder; `open_run` locks it before.

    Args:
      path: The folder.
      config: The run.
      record: What stands in its config.json.
      notes: What its user should know of damage to it.
      before_writing: Called before rows or checkpoints are written or removed; an exception prevents that.
    """
    self.path, self.config, self.record, self.notes = path, config, record, notes
    self.before_writing = before_writing
    self.aside = path / _ASIDE
    self.metrics = MetricsFile(path / metrics_file.NAME)

  def begin_anew(self) -> bool:
    """Removes the rows of a run that was ended before its first checkpoint.

    Returns:
      Whether there were more rows than such a run can have, which are moved aside: a checkpoint must have been there.
    """
    periods = [self.config.rounds_per_checkpoint, self.record['config'].get('rounds_per_checkpoint')]
    is_odd = metrics_file.last_round(self.path) > min(period for period in periods if period)
    if is_odd:
      files.set_aside(self.path / metrics_file.NAME, self.aside)
    self.metrics.remove()
    return is_odd


@contextlib.contextmanager
def open_run(
  config: Config, dataset: FederatedDataset, *, before_writing: Callable[[], None] = lambda: None
) -> Iterator[RunFolder]:
  """Opens the folder of `config`, a new one or one that the same config has begun on the same data.

  Args:
    config: The run.
    dataset: Its federation.
    before_writing: Called before anything is written; an exception prevents that. Where file systems have no locks, it
      is what keeps off a process that others take for dead.

  Raises:
    UserError: If the folder holds a run of another config or other data.
    LockedError: If another process works in it.
  """
  path = folder(config)
  files.make_folder(path)
  with _lock(path) as notes:
    before_writing()
    files.remove_unfinished(path)
    record = _record(path, config, dataset, notes)
    yield RunFolder(path, config, record, notes, before_writing=before_writing)


def results_folder(config: Config) -> pathlib.Path:
  """Returns the folder that holds this run's folder and those of others."""
  return pathlib.Path(config.results_dir).expanduser()


def folder(config: Config) -> pathlib.Path:
  """Returns where a run's results are."""
  return results_folder(config) / config.name


def log_path(config: Config) -> pathlib.Path:
  """Returns the file with what a sweep's process said while it worked on a run."""
  return folder(config) / 'log.txt'


def rounds_done(config: Config) -> int:
  """Returns how many rounds of a run are done, as its last row says; `is_done` looks at all of them."""
  return metrics_file.last_round(folder(config))


def is_locked(config: Config) -> bool:
  """Returns whether a process works on a run right now.

  Raises:
    OSError: If that cannot be found out.
  """
  return locks.is_held(folder(config) / _LOCK)


def is_done(config: Config) -> bool:
  """Returns whether the folder holds all rounds of this very config: whole rows, and those that its checkpoint has.

  Raises:
    OSError: If a file may be good and cannot be read.
  """
  path = folder(config)
  if rounds_done(config) < config.rounds or not config_file.holds(path, config):
    return False
  checkpoint = checkpoint_file.newest(path)
  if checkpoint is not None and not metrics_file.has_all_of(path, checkpoint.rows):
    return False
  if checkpoint is not None and checkpoint.round_num >= config.rounds:
    return True  # its rows were whole when it was written
  return len(metrics_file.read(path).rows) > config.rounds


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[list[str]]:
  """Holds the lock of a folder, and yields what is to be said of it."""
  with contextlib.ExitStack() as stack:
    try:
      has_locks = stack.enter_context(locks.held(path / _LOCK))
    except LockedError:
      message = f'{path}: another process is working on this run; wait for it, or choose another --name.'
      raise LockedError(message) from None
    note = f'note: {path} is on a file system without locks: let only one process at a time work on it.'
    yield [] if has_locks else [note]


def _record(path: pathlib.Path, config: Config, dataset: FederatedDataset, notes: list[str]) -> dict[str, Any]:
  """Returns what stands in config.json, written if the run is new, or if only a checkpoint still has it.

  Of an earlier part of the run, only the number of rounds may grow.
  """
  fingerprint, damage = dataset.fingerprint, ''
  try:
    record = config_file.read(path)
  except DamagedError as error:
    record, damage = None, str(error)
  is_lost = record is None
  if is_lost:
    record = _lost_record(path, damage)
  if record is None:
    record = config_file.new_record(config, dataset)
    config_file.write(path, record)
    return record
  config_file.refuse_another_run(path, record, config, fingerprint)
  then, now = record.get('threads'), threads.in_use()
  if then not in (None, now):
    notes.append(f'note: the run began with {then} threads and has {now} now; the last bits of a network may differ.')
  if damage:
    files.set_aside(path / config_file.NAME, path / _ASIDE)
  if is_lost:
    what = damage or f'{path / config_file.NAME} is missing'
    notes.append(f'warning: {what}. It is written again from a checkpoint.')
  if is_lost or config.rounds > record['config']['rounds']:
    record['config']['rounds'] = max(config.rounds, record['config']['rounds'])
    config_file.write(path, record)
  return record


def _lost_record(path: pathlib.Path, damage: str) -> dict[str, Any] | None:
  """Returns the record that a checkpoint has; None if there is neither a checkpoint nor a row.

  Raises:
    UserError: If there is no telling which run this is.
  """
  checkpoint = checkpoint_file.newest(path)
  if checkpoint is not None:
    return dict(checkpoint.record)
  if damage:
    raise UserError(f'{damage}; choose another --name.')
  if checkpoint_file.saved_rounds(path) or metrics_file.read(path).rows:
    raise UserError(
      f'{path} holds a run, but no {config_file.NAME} that says which; choose another --name or remove it.'
    )
  return None
