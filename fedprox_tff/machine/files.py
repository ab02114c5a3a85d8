# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there: a reader, and whoever comes after a kill, never meets half of one.

A file that was renamed into its place is whole for every other process, and after a kill. It is not yet on the disk:
after a power loss the name may be there and the content gone. What must outlast that is made `lasting`, with fsync.
"""

import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator

_UNFINISHED = '.tmp'  # what the names of unfinished files end with
_THREADS = 8  # that wait for the disk at a time: file systems write what several wait for in one go


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, lasting: bool = False) -> Iterator[pathlib.Path]:
  """Yields the name of a new file in the same folder, to be written in the block; then it takes the place of `path`.

  If the block raises, `path` is left as it was.

  Args:
    path: The file.
    lasting: Whether it is on the disk, content and name, when this returns.

  Raises:
    OSError: If it cannot be written; it names `path`.
  """
  unfinished = path.with_name(f'.{secrets.token_hex(8)}{_UNFINISHED}')  # short, and no other process's
  try:
    yield unfinished
    if lasting:
      _sync(unfinished)
    unfinished.replace(path)
    if lasting:
      _sync(path.parent)
  except OSError as error:
    unfinished.unlink(missing_ok=True)
    if error.errno is None or error.filename not in (None, str(unfinished)):
      raise
    raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
  except BaseException:
    unfinished.unlink(missing_ok=True)
    raise


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
  """Gives what goes wrong with an open file in the block the file's name, which Python leaves out there."""
  try:
    yield
  except OSError as error:
    if error.errno is None or error.filename is not None:
      raise
    raise OSError(error.errno, os.strerror(error.errno), str(path)) from None


def write_bytes(path: pathlib.Path, content: bytes, *, lasting: bool = False) -> None:
  """Writes a file, whole or not at all.

  Raises:
    OSError: If it cannot be written; it names `path`.
  """
  with replacing(path, lasting=lasting) as unfinished:
    unfinished.write_bytes(content)


def write_text(path: pathlib.Path, text: str, *, lasting: bool = False) -> None:
  """Writes a file, whole or not at all.

  Raises:
    OSError: If it cannot be written; it names `path`.
  """
  write_bytes(path, text.encode(), lasting=lasting)


def make_lasting(paths: Iterable[pathlib.Path]) -> None:
  """Returns when files, and their names, are on the disk.

  Raises:
    OSError: If one of them cannot be brought there, or is gone; it names the file.
  """
  paths = list(paths)
  if not paths:
    return
  with concurrent.futures.ThreadPoolExecutor(min(_THREADS, len(paths))) as pool:
    list(pool.map(_sync, paths))
  for folder in {path.parent for path in paths}:
    _sync(folder)


def make_folder(path: pathlib.Path) -> None:
  """Makes a folder and those above it, lasting, unless they are there.

  Raises:
    OSError: If one of them cannot be made.
  """
  if path.is_dir():
    return
  make_folder(path.parent)
  path.mkdir(exist_ok=True)
  _sync(path.parent)


def set_aside(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Moves a file or a folder into a folder on the same disk, replaces nothing there, and returns its new path.

  Raises:
    OSError: If it cannot be moved.
  """
  make_folder(folder)
  names = itertools.chain([path.name], (f'{path.name}.{number}' for number in itertools.count(2)))
  aside = next(folder / name for name in names if not os.path.lexists(folder / name))
  path.rename(aside)
  return aside


def remove_unfinished(folder: pathlib.Path) -> None:
  """Removes the unfinished files that a kill left in a folder; for a folder in which nobody else writes."""
  for path in folder.glob(f'.*{_UNFINISHED}'):
    path.unlink(missing_ok=True)


def _sync(path: pathlib.Path) -> None:
  """Waits until a file's content, or a folder's names, are on the disk."""
  with naming(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)
