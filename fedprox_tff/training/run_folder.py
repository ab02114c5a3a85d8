# SPDX-License-Identifier: Apache-2.0
"""A run's folder: what made it, one row a round, and how to go on with it.

    config.json    every value, package versions, source revision, command line, where the data came from
    metrics.csv    one row for each round from 0, before training; the same columns in all
    tensorboard/   the same values
    checkpoints/   the newest states of the process
    client_states/ what clients keep in those rounds, of methods whose clients keep something

The rows are exactly-once: a run killed at any moment and started again rewrites those after its checkpoint. Checkpoints
are written by `tff.program`'s manager; its manager of CSV files takes 4 ms a row, as long as half a round.
"""

import asyncio
import contextlib
import csv
import fcntl
import importlib.metadata
import json
import logging
import math
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

import fedprox_tff
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.training.client_states import ClientStates, Snapshot

_PREFIX = 'round_'
_PACKAGES = ('tensorflow', 'tensorflow-federated', 'numpy', 'jax', 'jaxlib')


class RunFolder:
  """The folder of one run, locked while it is open."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.metrics_path = path / 'metrics.csv'
    self._loop = asyncio.Runner()
    self._client_states: ClientStates | None = None
    self._has_columns = False  # those of this version
    _cut_torn_row(self.metrics_path)
    self._tensorboard = tf.summary.create_file_writer(str(path / 'tensorboard'))
    self._write_scalars = tf.function(self._write_scalars_eagerly)  # one call a row, where TFF's manager makes twenty
    checkpoints = path / 'checkpoints'
    for half_saved in checkpoints.glob(f'{_PREFIX}*_temp*'):
      shutil.rmtree(half_saved)
    self._checkpoints = tff.program.FileProgramStateManager(
      str(checkpoints), prefix=_PREFIX, keep_total=2, keep_first=False
    )

  def release(self, row: Mapping[str, float], round_num: int) -> None:
    """Writes the row of `round_num`, the one after the newest."""
    names = sorted(row)
    self._add_columns(names)
    with self.metrics_path.open('a', newline='') as file:
      writer = csv.writer(file, lineterminator='\n')
      if not file.tell():
        writer.writerow(['round_num', *names])
      writer.writerow([round_num, *(row[name] for name in names)])
    self._write_scalars(
      tuple(names), tf.constant([row[name] for name in names], tf.float32), tf.constant(round_num, tf.int64)
    )

  def _add_columns(self, names: Sequence[str]) -> None:
    """Gives rows of an earlier version the columns that came later, NaN."""
    if self._has_columns:
      return
    self._has_columns = True
    columns, rows = ['round_num', *names], self._rows_as_text()
    if rows and list(rows[0]) != columns:
      temporary = self.metrics_path.with_suffix('.tmp')
      with temporary.open('w', newline='') as file:
        writer = csv.DictWriter(file, columns, restval=math.nan, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
      temporary.rename(self.metrics_path)

  def _write_scalars_eagerly(self, names: tuple[str, ...], values: tf.Tensor, step: tf.Tensor) -> None:
    with self._tensorboard.as_default(step):
      for name, value in zip(names, tf.unstack(values), strict=True):
        tf.summary.scalar(name, value)

  def save(self, state: Any, round_num: int, client_states: Snapshot | None = None) -> None:
    """Saves the state after `round_num`, unless it is saved already, and what clients keep then.

    Raises:
      OSError: If it cannot be written.
    """
    if client_states is not None:
      self._client_states.save(client_states, round_num)
    try:
      with contextlib.suppress(tff.program.ProgramStateExistsError):
        self._loop.run(self._checkpoints.save(state, round_num))
    except tf.errors.OpError as error:  # TensorFlow's way to say that a disk is full
      reason = re.sub(r'\{\{.*?\}\}|\[Op:.*?\]', '', error.message).strip()
      raise OSError(f'the state of round {round_num} cannot be saved: {reason}') from error
    if client_states is not None:
      self._client_states.keep(self._saved_rounds())

  def forget_before(self, round_num: int) -> None:
    """Removes what clients kept in rounds before `round_num`, unless it is saved: none of them will be saved now."""
    if self._client_states is not None:
      self._client_states.forget_before(round_num)

  def load(self, structure: Any, client_states: ClientStates | None = None) -> tuple[Any, int]:
    """Returns the newest state and its round, or `(None, 0)`, and removes the rows that come after.

    Args:
      structure: A state of the same structure.
      client_states: What clients keep, for methods that have it: it takes up the states of that round, and is what
        `save` saves.
    """
    self._client_states = client_states
    state, round_num = self._newest(structure)
    self._cut_rows(0 if state is None else round_num + 1)
    if client_states is not None:
      client_states.keep(self._saved_rounds(), newer=False)
    return state, round_num

  def _saved_rounds(self) -> list[int]:
    return self._loop.run(self._checkpoints.get_versions()) or []

  def _newest(self, structure: Any) -> tuple[Any, int]:
    for round_num in sorted(self._saved_rounds(), reverse=True):
      state = self._load(round_num, structure) if self._has_rows_to(round_num) else None
      if state is not None:
        return state, round_num
      self._remove(round_num)  # its rows are gone, or it cannot be read: its place must be free
    return None, 0

  def _load(self, round_num: int, structure: Any) -> Any:
    """Returns a saved state, None if the file is damaged."""
    try:
      state = self._loop.run(self._checkpoints.load(round_num, structure))
      if _shapes(state) != _shapes(structure):
        raise ValueError(f'its shapes are {_shapes(state)}, not {_shapes(structure)}.')
      if self._client_states is not None:
        self._client_states.load(round_num)
      return state
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
      logging.warning('The state of round %d cannot be read and is passed over: %s', round_num, error)
      return None

  def _remove(self, round_num: int) -> None:
    shutil.rmtree(self.path / 'checkpoints' / f'{_PREFIX}{round_num}')

  def _cut_rows(self, count: int) -> None:
    """Keeps the first `count` rows."""
    if not self.metrics_path.exists():
      return
    lines = self.metrics_path.read_bytes().splitlines(keepends=True)
    if count == 0:
      self.metrics_path.unlink()
    elif len(lines) > count + 1:
      temporary = self.metrics_path.with_suffix('.tmp')
      temporary.write_bytes(b''.join(lines[: count + 1]))
      temporary.rename(self.metrics_path)

  def rows(self) -> list[dict[str, float]]:
    """Returns all rows, as numbers."""
    return [{key: float(value) for key, value in row.items()} for row in self._rows_as_text()]

  def _rows_as_text(self) -> list[dict[str, str]]:
    if not self.metrics_path.exists():
      return []
    with self.metrics_path.open(newline='') as file:
      return list(csv.DictReader(file))

  def close(self) -> None:
    """Lets go of the files."""
    self._tensorboard.close()
    self._loop.close()

  def _has_rows_to(self, round_num: int) -> bool:
    return [row['round_num'] for row in self.rows()][: round_num + 1] == list(range(round_num + 1))


@contextlib.contextmanager
def open_run(config: Config, dataset: FederatedDataset) -> Iterator[RunFolder]:
  """Opens the folder of `config`, a new one or one that the same config has begun on the same data.

  Raises:
    UserError: If the folder holds a run of another config or other data, or another process works in it.
  """
  path = pathlib.Path(config.results_dir) / config.name
  path.mkdir(parents=True, exist_ok=True)
  with _lock(path):
    _check_or_write_config(path / 'config.json', config, dataset)
    with contextlib.closing(RunFolder(path)) as folder:
      yield folder


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
  except (ValueError, KeyError, TypeError):
    raise UserError(f"{path} is not a run's config; choose another --name or remove {path.parent}.") from None
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
  temporary = path.with_suffix('.tmp')
  temporary.write_text(json.dumps(record, indent=2) + '\n')
  temporary.rename(path)


def _shapes(state: Any) -> list[tuple[int, ...]]:
  """Returns the shapes of a state's numbers, which another version of a model may have laid out otherwise."""
  return [np.shape(leaf) for leaf in tf.nest.flatten(state)]


def _revision() -> str:
  """Returns the source's commit, with '-dirty' after it if the package's files differ, or 'unknown' without git."""
  package = pathlib.Path(__file__).parent
  try:
    commit, changes = (
      subprocess.run(['git', '-C', str(package), *command], capture_output=True, text=True, check=True).stdout.strip()
      for command in (['rev-parse', 'HEAD'], ['status', '--porcelain', '--', '.'])
    )
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return f'{commit}-dirty' if changes else commit


def _cut_torn_row(path: pathlib.Path) -> None:
  """Removes a last line that a kill left without its end."""
  if path.exists():
    content = path.read_bytes()
    whole = content[: content.rfind(b'\n') + 1]
    if whole:
      if whole != content:
        path.write_bytes(whole)
    else:
      path.unlink()
