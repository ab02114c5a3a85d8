# SPDX-License-Identifier: Apache-2.0
"""What each client keeps between rounds, in memory or on disk: only clients that have taken part cost space.

A client's state after a round is never changed, only followed by another one, so what all clients keep after some
round is a small table of who has which state. Such a table is what a checkpoint needs, and what an evaluation can go on
to use while later rounds train.

In memory, states are written when a round is saved. On disk, they are written at once and read when they are needed,
so that no more than those of the clients at work are in memory, and those that nobody can ask for any more are removed.
Then workers of a cluster may read and write them too. A table has the digest of each file, so that a file that was
changed, swapped or copied from elsewhere is noticed.
"""

import collections
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tree

from fedprox_tff.core.errors import DamagedError
from fedprox_tff.machine import files
from fedprox_tff.training.checkpoint_file import ClientTable
from fedprox_tff.training.state_files import Errand, StateFiles, flat


class _Version(NamedTuple):
  """A client's state after one of its rounds."""

  round_num: int
  numbers: np.ndarray | None  # all of them, flat; None if they are on disk only
  digest: bytes  # of the file; empty if there is none yet


class Snapshot(Mapping[int, Any]):
  """The states of all clients that had taken part by some round; reads them from disk as they are asked for."""

  def __init__(self, states: 'ClientStates', versions: Mapping[int, _Version]):
    self._states, self.versions = states, versions

  def __getitem__(self, client: int) -> Any:
    return self._states.read(client, self.versions[client])

  def state_of(self, client: int) -> Any:
    """Returns a client's state, the initial one if it has not taken part."""
    return self[client] if client in self.versions else self._states.initial

  def errand(self, client: int, round_num: int | None) -> Errand:
    """Returns what a worker on another node is told of a client's state, which is on disk.

    Args:
      client: The client.
      round_num: The round that it works in; None if it keeps what it has.
    """
    version = self.versions.get(client)
    old = None if version is None else (version.round_num, version.digest)
    here = self._states.files
    there = here._replace(folder=here.folder.absolute())  # a worker may be at work in another folder
    return Errand(there, client, old, round_num)

  def __iter__(self) -> Iterator[int]:
    return iter(self.versions)

  def __len__(self) -> int:
    return len(self.versions)


class ClientStates:
  """The states of a run's clients."""

  def __init__(self, initial: Any, folder: pathlib.Path, *, place: str = 'memory'):
    """Makes the states of clients of which none has taken part.

    Args:
      initial: The state of a client that has not taken part: a tuple of float32 arrays or tensors, or of such tuples.
      folder: Where states are written; made when it is needed.
      place: 'memory' or 'disk', where they are between rounds.
    """
    self.initial, self.is_on_disk = initial, place == 'disk'
    self._initial_numbers = _flat(initial)
    self.files = StateFiles(folder, self._initial_numbers.size)
    self._versions: dict[int, _Version] = {}
    self._saved: dict[tuple[int, int], bytes] = {}  # (client, round) of the states that saved rounds need; the digests
    self._replaced = collections.deque()  # (round, client, round before it) of states on disk that have been replaced

  def put(self, client: int, state: Any, round_num: int) -> None:
    """Replaces the state of a client after a round; one that is still the initial state costs no space.

    Raises:
      OSError: If it cannot be written.
    """
    numbers = _flat(state)
    if client not in self._versions and np.array_equal(numbers, self._initial_numbers):
      return
    numbers.flags.writeable = False  # snapshots share it
    if self.is_on_disk:
      self.put_file(client, self.files.write(client, round_num, numbers), round_num)
    else:
      self._replace(client, _Version(round_num, numbers, b''))

  def put_file(self, client: int, digest: bytes | None, round_num: int) -> None:
    """Takes the file that an `Errand` has written for the state of a client after a round; None is no news."""
    if digest is not None:
      self._replace(client, _Version(round_num, None, digest))

  def _replace(self, client: int, new: _Version) -> None:
    old = self._versions.get(client)
    self._versions[client] = new
    if old is not None and old.numbers is None and old.round_num != new.round_num:  # a cohort may have a client twice
      self._replaced.append((new.round_num, client, old.round_num))

  def snapshot(self) -> Snapshot:
    """Returns the states as they are now, whatever comes later."""
    return Snapshot(self, dict(self._versions))

  def read(self, client: int, version: _Version) -> Any:
    """Returns one of a client's states.

    Raises:
      DamagedError: If its file is not as it was written.
      OSError: If its file cannot be read.
    """
    numbers = version.numbers
    if numbers is None:
      numbers = self.files.read(client, version.round_num, version.digest)
    return unflatten(numbers, self.initial)

  def save(self, snapshot: Snapshot) -> ClientTable:
    """Returns the table of a snapshot, whose states are on the disk then.

    Raises:
      OSError: If a state cannot be written.
    """
    new, digests = [], []
    for client, version in snapshot.versions.items():
      digest = self._saved.get((client, version.round_num))
      if digest is None:
        digest = version.digest or self.files.write(client, version.round_num, version.numbers)
        new.append(self.files.path(client, version.round_num))
      digests.append(digest)
    files.make_lasting(new)
    versions = [(client, version.round_num) for client, version in snapshot.versions.items()]
    return ClientTable(
      np.array(versions, np.int64).reshape(-1, 2), np.frombuffer(b''.join(digests), np.uint8).reshape(-1, 32)
    )

  def load(self, table: ClientTable) -> None:
    """Takes up the states of a table, and reads all of them once.

    Raises:
      DamagedError: If one of them is not as it was written; it names the file.
      OSError: If one of them may be good and cannot be read.
    """
    versions = {}
    if table.versions.shape != (len(table.digests), 2):
      raise DamagedError(f'a table of {len(table.versions)} clients has {len(table.digests)} digests')
    for (client, round_num), digest in zip(table.versions.tolist(), table.digests, strict=True):
      numbers = self.files.read(client, round_num, digest.tobytes())
      versions[client] = _Version(round_num, None if self.is_on_disk else numbers, digest.tobytes())
    self._versions = versions
    self._replaced.clear()

  def keep(self, tables: Iterable[ClientTable], newer_than: int) -> None:
    """Removes what only other tables than these need.

    Args:
      tables: Those of the saved rounds.
      newer_than: The newest saved round. States from later rounds are kept, for rounds that are not saved yet.
    """
    self._remember(tables)
    for client, round_num in self.files.list():
      if (client, round_num) not in self._saved and round_num <= newer_than:
        self.files.path(client, round_num).unlink(missing_ok=True)

  def keep_only(self, tables: Iterable[ClientTable], aside: pathlib.Path | None = None) -> None:
    """Removes all that these tables do not need, as `keep` does, and what a kill left.

    Args:
      tables: Those of the saved rounds.
      aside: The folder that states are moved to instead, where they may be good.
    """
    self._remember(tables)
    for client, round_num in self.files.list():
      if (client, round_num) not in self._saved:
        path = self.files.path(client, round_num)
        if aside is None:
          path.unlink(missing_ok=True)
        else:
          files.set_aside(path, aside)
    files.remove_unfinished(self.files.folder)

  def forget_before(self, round_num: int) -> None:
    """Removes the states on disk that only rounds before this one need, and no saved one."""
    while self._replaced and self._replaced[0][0] <= round_num:
      _, client, last_round = self._replaced.popleft()
      if (client, last_round) not in self._saved:
        self.files.path(client, last_round).unlink(missing_ok=True)

  def _remember(self, tables: Iterable[ClientTable]) -> None:
    self._saved = {
      (client, round_num): digest.tobytes()
      for table in tables
      for (client, round_num), digest in zip(table.versions.tolist(), table.digests, strict=True)
    }


def _flat(state: Any) -> np.ndarray:
  """Returns the numbers of a state, one after another."""
  return flat(tree.flatten(state))


def unflatten(numbers: np.ndarray, initial: Any) -> Any:
  """Returns the numbers of a state in the arrays and tuples of `initial`."""
  leaves = tree.flatten(initial)
  pieces = np.split(numbers, np.cumsum([np.size(leaf) for leaf in leaves])[:-1])
  return tree.unflatten_as(initial, [piece.reshape(np.shape(leaf)) for piece, leaf in zip(pieces, leaves, strict=True)])
