# SPDX-License-Identifier: Apache-2.0
"""What each client keeps between rounds, in memory or on disk: only clients that have taken part cost space.

A client's state after a round is never changed, only followed by another one, so what all clients keep after some
round is a small table of who has which state. Such a table is what a checkpoint needs, and what an evaluation can go on
to use while later rounds train.

    client_states/
      <client>-<round>.npy   the state that a client had after a round: its numbers, one after another, in float32
      round_<round>.npy      the table after that round: int64 [clients that have taken part, (client, round)]

In memory, states are written when a round is saved. On disk, they are written at once and read when they are needed,
so that no more than those of the clients at work are in memory, and those that nobody can ask for any more are removed.
"""

import collections
import contextlib
import pathlib
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.machine import files


class _Version(NamedTuple):
  """A client's state after one of its rounds."""

  round_num: int
  numbers: np.ndarray | None  # all of them, flat; None if they are on disk only


class Snapshot(Mapping[int, Any]):
  """The states of all clients that had taken part by some round; reads them from disk as they are asked for."""

  def __init__(self, states: 'ClientStates', versions: Mapping[int, _Version]):
    self._states, self.versions = states, versions

  def __getitem__(self, client: int) -> Any:
    return self._states.read(client, self.versions[client])

  def state_of(self, client: int) -> Any:
    """Returns a client's state, the initial one if it has not taken part."""
    return self[client] if client in self.versions else self._states.initial

  def __iter__(self) -> Iterator[int]:
    return iter(self.versions)

  def __len__(self) -> int:
    return len(self.versions)


class ClientStates:
  """The states of a run's clients."""

  def __init__(self, initial: Any, folder: pathlib.Path, *, place: str = 'memory'):
    """Makes the states of clients of which none has taken part.

    Args:
      initial: The state of a client that has not taken part: a tuple of float32 arrays, or of such tuples.
      folder: Where states are written; made when it is needed.
      place: 'memory' or 'disk', where they are between rounds.
    """
    self.initial, self._folder, self._on_disk = initial, folder, place == 'disk'
    self._shapes = [np.shape(leaf) for leaf in _leaves(initial)]
    self._initial_numbers = _flat(initial)
    self._versions: dict[int, _Version] = {}
    self._saved: set[tuple[int, int]] = set()  # (client, round) of the states on disk that saved rounds need
    self._replaced = collections.deque()  # (round, client, round before it) of states on disk that have been replaced

  def put(self, client: int, state: Any, round_num: int) -> None:
    """Replaces the state of a client after a round; one that is still the initial state costs no space."""
    numbers = _flat(state)
    if client not in self._versions and np.array_equal(numbers, self._initial_numbers):
      return
    numbers.flags.writeable = False  # snapshots share it
    if self._on_disk:
      _write(self._path(client, round_num), numbers)
      numbers = None
    old = self._versions.get(client)
    self._versions[client] = _Version(round_num, numbers)
    if old is not None and old.numbers is None and old.round_num != round_num:  # a cohort may have a client twice
      self._replaced.append((round_num, client, old.round_num))

  def snapshot(self) -> Snapshot:
    """Returns the states as they are now, whatever comes later."""
    return Snapshot(self, dict(self._versions))

  def read(self, client: int, version: _Version) -> Any:
    """Returns one of a client's states."""
    numbers = version.numbers
    if numbers is None:
      numbers = _read(self._path(client, version.round_num))
    ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])
    pieces = zip(np.split(numbers, ends[:-1]), self._shapes, strict=True)
    return _packed(iter([piece.reshape(shape) for piece, shape in pieces]), self.initial)

  def save(self, snapshot: Snapshot, round_num: int) -> None:
    """Writes the states of a round, so that `load` finds them."""
    for client, version in snapshot.versions.items():
      if version.numbers is not None and not self._path(client, version.round_num).exists():
        _write(self._path(client, version.round_num), version.numbers)
    table = [(client, version.round_num) for client, version in snapshot.versions.items()]
    _write(self._table(round_num), np.array(table, np.int64).reshape(-1, 2))

  def load(self, round_num: int) -> None:
    """Takes up the states of a saved round.

    Raises:
      OSError, ValueError: If they are not there, or damaged.
    """
    versions = {}
    size = sum(int(np.prod(shape)) for shape in self._shapes)
    for client, last_round in self._read_table(round_num):
      path = self._path(client, last_round)
      numbers = _read(path, mmap_mode='r' if self._on_disk else None)
      if numbers.shape != (size,) or numbers.dtype != np.float32:
        raise ValueError(f'{path} holds {numbers.dtype} {numbers.shape}, not {size} numbers.')
      versions[client] = _Version(last_round, None if self._on_disk else numbers)
    self._versions = versions
    self._replaced.clear()

  def keep(self, round_nums: Iterable[int], *, newer: bool = True) -> None:
    """Removes what only other rounds than these need.

    Args:
      round_nums: Saved rounds. Those whose tables are missing or damaged cannot be loaded, and need nothing.
      newer: Whether states after the newest of them are kept too, for rounds that are not saved yet.
    """
    tables = {}
    for round_num in round_nums:
      with contextlib.suppress(FileNotFoundError, ValueError):
        tables[self._table(round_num)] = self._read_table(round_num)
    self._saved = {(client, last_round) for table in tables.values() for client, last_round in table}
    newest = max((int(path.stem.removeprefix('round_')) for path in tables), default=0)
    for path in self._folder.glob('round_*.npy'):
      if path not in tables:
        path.unlink(missing_ok=True)
    for path in self._folder.glob('*-*.npy'):
      client, last_round = map(int, path.stem.split('-'))
      if (client, last_round) not in self._saved and not (newer and last_round > newest):
        path.unlink(missing_ok=True)
    if not newer:
      files.remove_unfinished(self._folder)

  def forget_before(self, round_num: int) -> None:
    """Removes the states on disk that only rounds before this one need, and no saved one."""
    while self._replaced and self._replaced[0][0] <= round_num:
      _, client, last_round = self._replaced.popleft()
      if (client, last_round) not in self._saved:
        self._path(client, last_round).unlink(missing_ok=True)

  def _read_table(self, round_num: int) -> list[list[int]]:
    table = _read(self._table(round_num))
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype != np.int64:
      raise ValueError(f'{self._table(round_num)} holds {table.dtype} {table.shape}, not pairs.')
    return table.tolist()

  def _path(self, client: int, round_num: int) -> pathlib.Path:
    return self._folder / f'{client}-{round_num}.npy'

  def _table(self, round_num: int) -> pathlib.Path:
    return self._folder / f'round_{round_num}.npy'


def _flat(state: Any) -> np.ndarray:
  """Returns the numbers of a state, one after another."""
  return np.concatenate([np.ravel(leaf) for leaf in _leaves(state)]).astype(np.float32, copy=False)


def _read(path: pathlib.Path, mmap_mode: str | None = None) -> np.ndarray:
  """Reads an array; what numpy says of damaged files, all of it, is a `ValueError`."""
  try:
    return np.load(path, mmap_mode=mmap_mode)
  except (EOFError, tokenize.TokenError) as error:
    raise ValueError(f'{path} is damaged: {error}') from None


def _write(path: pathlib.Path, array: np.ndarray) -> None:
  """Writes an array, whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.replacing(path) as unfinished, unfinished.open('wb') as file:
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)  # not `np.save`, which does not say why it could not write


def _leaves(state: Any) -> Iterator[Any]:
  """Yields the arrays of nested tuples."""
  if isinstance(state, tuple):
    for part in state:
      yield from _leaves(part)
  else:
    yield state


def _packed(leaves: Iterator[np.ndarray], structure: Any) -> Any:
  """Returns the leaves in the structure of nested tuples."""
  if isinstance(structure, tuple):
    return tuple(_packed(leaves, part) for part in structure)
  return next(leaves)
