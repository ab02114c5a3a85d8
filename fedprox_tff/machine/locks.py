# SPDX-License-Identifier: Apache-2.0
"""A lock that one process holds at a time, and that is gone when the process is, however it ended.

It is the system's `flock` on a file. Some file systems have none; then nobody holds it, and that is said.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import time
from collections.abc import Iterator

from fedprox_tff.core.errors import LockedError
from fedprox_tff.machine import files

_PATIENCE_SECONDS = 0.5  # for those who only look: that takes a moment of the lock itself
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextlib.contextmanager
def held(path: pathlib.Path) -> Iterator[bool]:
  """Holds the lock in the block, and yields whether there is one on this file system.

  Args:
    path: The file, which is made.

  Raises:
    LockedError: If another process holds it.
    OSError: If the file cannot be opened.
  """
  with open(path, 'a', opener=_without_waiting) as file:
    until = time.monotonic() + _PATIENCE_SECONDS
    while (state := _try(file.fileno(), fcntl.LOCK_EX, path)) == 'held':
      if time.monotonic() > until:
        raise LockedError(f'{path} is held by another process')
      time.sleep(0.02)
    yield state == 'mine'


def is_held(path: pathlib.Path) -> bool:
  """Returns whether a process holds the lock.

  Raises:
    OSError: If the file cannot be opened.
  """
  try:
    with open(path, opener=_without_waiting) as file:
      return _try(file.fileno(), fcntl.LOCK_SH, path) == 'held'  # shared, so that two who look do not see each other
  except FileNotFoundError:
    return False


def _without_waiting(name: str, flags: int) -> int:
  """Opens a file, or a pipe in its place, which would wait for somebody at its other end."""
  return os.open(name, flags | os.O_NONBLOCK, 0o666)


def _try(descriptor: int, kind: int, path: pathlib.Path) -> str:
  """Returns 'mine' if the lock was to be had, else 'held' or 'none'."""
  try:
    with files.naming(path):
      fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in _HELD:
      return 'held'
    if error.errno in _NO_LOCKS:
      return 'none'
    raise
  return 'mine'
