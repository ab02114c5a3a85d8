# SPDX-License-Identifier: Apache-2.0
"""The files of what clients keep, one for each state that a client had after a round.

    client_states/<client>-<round>.state   a sealed file with its client, its round, and its numbers, one after another,
                                           in float32

Any node that sees the folder may read and write them: a worker of a cluster does, on an errand.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedprox_tff.core.errors import DamagedError
from fedprox_tff.machine import files, sealed

FOLDER = 'client_states'
_NAME = re.compile(r'([0-9]{1,18})-([0-9]{1,18})\.state', re.ASCII)
_NUMBERS = 'numbers'


class StateFiles(NamedTuple):
  """The folder of a run's states."""

  folder: pathlib.Path
  size: int  # of a state, in numbers

  def path(self, client: int, round_num: int) -> pathlib.Path:
    """Returns the file of a state."""
    return self.folder / f'{client}-{round_num}.state'

  def write(self, client: int, round_num: int, numbers: np.ndarray) -> bytes:
    """Writes the state of a client after a round, and returns the digest of its file.

    Raises:
      OSError: If it cannot be written.
    """
    files.make_folder(self.folder)
    return sealed.write(self.path(client, round_num), {'client': client, 'round': round_num}, {_NUMBERS: numbers})

  def read(self, client: int, round_num: int, digest: bytes) -> np.ndarray:
    """Returns the numbers of a state.

    Raises:
      DamagedError: If its file is not the one with this digest, or not as it was written.
      OSError: If it cannot be read.
    """
    path = self.path(client, round_num)
    content = sealed.read(path)
    if content.about != {'client': client, 'round': round_num}:
      raise DamagedError(f'{path} holds the state of another client or round, {content.about}')
    if content.digest != digest:
      raise DamagedError(f'{path} is not the state that was saved: it comes from another run')
    numbers = content.arrays.get(_NUMBERS, np.empty(0))
    if numbers.shape != (self.size,) or numbers.dtype != np.float32:
      raise DamagedError(f'{path} holds {numbers.size} numbers of {numbers.dtype}, not {self.size}')
    return numbers

  def list(self) -> list[tuple[int, int]]:
    """Returns the client and round of each file; files with other names are somebody else's."""
    try:
      names = [path.name for path in self.folder.iterdir()]
    except FileNotFoundError:
      return []
    return [(int(match[1]), int(match[2])) for name in names if (match := _NAME.fullmatch(name))]


class Errand(NamedTuple):
  """What a worker on another node is told of a client's state: where it finds it, and where it puts the next one."""

  files: StateFiles
  client: int
  old: tuple[int, bytes] | None  # the round and the digest of the file; None if the client has the initial state
  round_num: int | None  # that it works in; None if it keeps what it has

  def reading(self) -> 'Errand':
    """Returns the errand without the second part: the client keeps what it has."""
    return self._replace(round_num=None)

  def read(self) -> np.ndarray | None:
    """Returns the numbers of the client's state, None if it is the initial one."""
    return None if self.old is None else self.files.read(self.client, *self.old)

  def write(self, leaves: Sequence[np.ndarray], initial: Sequence[np.ndarray]) -> bytes | None:
    """Writes what the client keeps now, and returns the digest of the file, None if nothing needs to be written.

    Args:
      leaves: The arrays of its state.
      initial: Those of the initial state, which costs no space.
    """
    if self.round_num is None or (self.old is None and all(map(np.array_equal, leaves, initial))):
      return None
    return self.files.write(self.client, self.round_num, flat(leaves))


def flat(leaves: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the numbers of some arrays, one after another."""
  return np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float32, copy=False)
