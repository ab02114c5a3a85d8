# SPDX-License-Identifier: Apache-2.0
"""A run's folder: what made it, one row a round, and how far it is.

    config.json    every value, package versions, source revision, command line, where the data came from
    metrics.csv    one row for each round from 0, before training; the same columns in all
    tensorboard/   the same values
    checkpoints/   the newest states of the process
    client_states/ one file per client that has taken part, for methods with client state such as SCAFFOLD
    log.txt        what a sweep's process said while it worked on the run

The rows are exactly-once: a run that was killed at any moment and is started again rewrites those after its checkpoint.
Nothing here needs TensorFlow; `tensorboard` and `checkpoints` do.
"""

import contextlib
import csv
import fcntl
import importlib.metadata
import io
import json
import math
import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fedprox_tff
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.machine import files
from fedprox_tff.training.columns import ROUND_NUM

_PACKAGES = ('tensorflow', 'tensorflow-federated', 'numpy', 'jax', 'jaxlib')
_TAIL_BYTES = 1 << 16  # holds many rows


class RunFolder:
  """The folder of one run, locked while it is open."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.metrics_path = path / 'metrics.csv'
    self._has_columns = False  # those of this version
    files.remove_unfinished(path)
    self._cut_torn_row()

  def append(self, row: Mapping[str, float], round_num: int) -> None:
    """Writes the row of `round_num`, the one after the newest.

    Raises:
      OSError: If it cannot be written.
    """
    names = sorted(row)
    self._add_columns(names)
    with self.metrics_path.open('a', newline='') as file:
      writer = csv.writer(file, lineterminator='\n')
      if not file.tell():
        writer.writerow([ROUND_NUM.name, *names])
      writer.writerow([round_num, *(row[name] for name in names)])

  def rows(self) -> list[dict[str, float]]:
    """Returns all rows, as numbers."""
    return read_rows(self.path)

  def has_rows_to(self, round_num: int) -> bool:
    """Returns whether the rows of all rounds up to this one are there."""
    return [row[ROUND_NUM.name] for row in self.rows()][: round_num + 1] == list(range(round_num + 1))

  def keep_rows(self, count: int) -> None:
    """Keeps the first `count` rows and removes the others."""
    if not self.metrics_path.exists():
      return
    lines = self.metrics_path.read_bytes().splitlines(keepends=True)
    if count == 0:
      self.metrics_path.unlink()
    elif len(lines) > count + 1:
      files.write_bytes(self.metrics_path, b''.join(lines[: count + 1]))

  def _add_columns(self, names: Sequence[str]) -> None:
    """Gives rows of an earlier version the columns that came later, NaN."""
    if self._has_columns:
      return
    self._has_columns = True
    columns, rows = [ROUND_NUM.name, *names], _rows_as_text(self.path)
    if rows and list(rows[0]) != columns:
      text = io.StringIO(newline='')
      writer = csv.DictWriter(text, columns, restval=math.nan, extrasaction='ignore', lineterminator='\n')
      writer.writeheader()
      writer.writerows(rows)
      files.write_text(self.metrics_path, text.getvalue())

  def _cut_torn_row(self) -> None:
    """Removes a last line that a kill left without its end."""
    if not self.metrics_path.exists():
      return
    content = self.metrics_path.read_bytes()
    whole = content[: content.rfind(b'\n') + 1]
    if not whole:
      self.metrics_path.unlink()
    elif whole != content:
      files.write_bytes(self.metrics_path, whole)


@contextlib.contextmanager
def open_run(config: Config, dataset: FederatedDataset) -> Iterator[RunFolder]:
  """Opens the folder of `config`, a new one or one that the same config has begun on the same data.

  Raises:
    UserError: If the folder holds a run of another config or other data, or another process works in it.
  """
  path = folder(config)
  path.mkdir(parents=True, exist_ok=True)
  with _lock(path):
    _check_or_write_config(path / 'config.json', config, dataset)
    yield RunFolder(path)


def results_folder(config: Config) -> pathlib.Path:
  """Returns the folder that holds this run's folder and those of others."""
  return pathlib.Path(config.results_dir).expanduser()


def folder(config: Config) -> pathlib.Path:
  """Returns where a run's results are."""
  return results_folder(config) / config.name


def log_path(config: Config) -> pathlib.Path:
  """Returns the file with what a sweep's process said while it worked on a run."""
  return folder(config) / 'log.txt'


def read_rows(path: pathlib.Path) -> list[dict[str, float]]:
  """Returns all rows in a run's folder, as numbers; none if there is no file of them."""
  return [{key: float(value) for key, value in row.items()} for row in _rows_as_text(path)]


def rounds_done(config: Config) -> int:
  """Returns how many rounds of a run are done."""
  return rounds_in(folder(config))


def rounds_in(path: pathlib.Path) -> int:
  """Returns the round of the last whole row in a folder, 0 if there is none; a process may be writing right now."""
  try:
    with (path / 'metrics.csv').open('rb') as file:
      file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
      tail = file.read()
    return int(tail[: tail.rfind(b'\n')].rpartition(b'\n')[2].partition(b',')[0])
  except (OSError, ValueError):  # ValueError: the header alone
    return 0


def is_done(config: Config) -> bool:
  """Returns whether the folder holds all rounds of this very config."""
  if rounds_done(config) < config.rounds:
    return False
  try:
    return not config.differences(json.loads((folder(config) / 'config.json').read_text())['config'])
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return False


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
  with (path / '.lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise UserError(
        f'{path}: another process is working on this run; wait for it, or choose another --name.'
      ) from None
    yield


def _check_or_write_config(path: pathlib.Path, config: Config, dataset: FederatedDataset) -> None:
  """Writes what makes the run; of an earlier part of it, only the number of rounds may grow."""
  fingerprint = dataset.fingerprint
  if not path.exists():
    record = {
      'config': config.record(),
      'data': {'source': dataset.source, 'fingerprint': fingerprint},
      'versions': {'fedprox_tff': fedprox_tff.__version__, 'python': sys.version.split()[0]}
      | {package: importlib.metadata.version(package) for package in _PACKAGES},
      'revision': _revision(),
      'command': shlex.join(sys.orig_argv),
    }
    _write(path, record)
    return
  try:
    record = json.loads(path.read_text())
    different, data = config.differences(record['config']), dict(record['data'])
    earlier, same_data = Config.from_record(record['config']), data['fingerprint'] == fingerprint
  except (ValueError, KeyError, TypeError) as error:
    reason = ' '.join(str(error).split())
    raise UserError(f"{path} is not a run's config of this version ({reason}); choose another --name.") from None
  if different:
    there, here = earlier.flat(), config.flat()
    values = ', '.join(f'--{key}={there.get(key)} there, {here.get(key)} here' for key in different)
    raise UserError(f'{path.parent} holds a run of another config ({values}); choose another --name or remove it.')
  if not same_data:
    raise UserError(f'{path.parent} holds a run on other data ({data["source"]}); choose another --name or remove it.')
  if config.rounds > earlier.rounds:
    record['config']['rounds'] = config.rounds
    _write(path, record)


def _write(path: pathlib.Path, record: Mapping[str, Any]) -> None:
  files.write_text(path, json.dumps(record, indent=2) + '\n')


def _revision() -> str:
  """Returns the source's commit, with '-dirty' after it if the package's files differ, or 'unknown' without git.

  It is also unknown where the package is installed, though that may be in somebody else's repository.
  """
  package = pathlib.Path(fedprox_tff.__file__).parent
  tracked = ['ls-files', '--error-unmatch', '__init__.py']
  try:
    _, commit, changes = (
      subprocess.run(['git', '-C', str(package), *command], capture_output=True, text=True, check=True).stdout.strip()
      for command in (tracked, ['rev-parse', 'HEAD'], ['status', '--porcelain', '--', '.'])
    )
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return f'{commit}-dirty' if changes else commit


def _rows_as_text(path: pathlib.Path) -> list[dict[str, str]]:
  metrics = path / 'metrics.csv'
  if not metrics.exists():
    return []
  with metrics.open(newline='') as file:
    return list(csv.DictReader(file))
