# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there: a reader, and whoever comes after a kill, never meets half of one."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator

_UNFINISHED = '.tmp'  # what the names of unfinished files end with


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the name of a new file in the same folder, to be written in the block; then it takes the place of `path`.

  If the block raises, `path` is left as it was.

  Raises:
    OSError: If it cannot be written; it names `path`.
  """
  unfinished = path.with_name(f'.{secrets.token_hex(8)}{_UNFINISHED}')  # short, and no other process's
  try:
    yield unfinished
    unfinished.replace(path)
  except OSError as error:
    unfinished.unlink(missing_ok=True)
    if error.errno is None or error.filename not in (None, str(unfinished)):
      raise
    raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
  except BaseException:
    unfinished.unlink(missing_ok=True)
    raise


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Writes a file, whole or not at all.

  Raises:
    OSError: If it cannot be written; it names `path`.
  """
  with replacing(path) as unfinished:
    unfinished.write_bytes(content)


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file, whole or not at all.

  Raises:
    OSError: If it cannot be written; it names `path`.
  """
  write_bytes(path, text.encode())


def remove_unfinished(folder: pathlib.Path) -> None:
  """Removes the unfinished files that a kill left in a folder; for a folder in which nobody else writes."""
  for path in folder.glob(f'*{_UNFINISHED}'):
    path.unlink(missing_ok=True)
