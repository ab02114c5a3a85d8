# SPDX-License-Identifier: Apache-2.0
"""Where the files of data sets are looked for, and how those that are missing are fetched.

A file is looked for in --data_dir, in $FEDPROX_DATA_DIR and in the cache, in this order; in each of them in the folder
itself and in its subfolder that is named after the data set. What is nowhere is downloaded into the cache, where it
appears only once it is whole and has the known SHA-256.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import socket
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import base
from fedprox_tff.machine import files

VARIABLE = 'FEDPROX_DATA_DIR'
TIMEOUT = 20.0  # seconds without a word from a server before a download is given up


def places(data_dir: str | None, *subfolders: str) -> list[str]:
  """Returns the folders to look in, be they there or not, the most wanted first.

  Args:
    data_dir: A folder that the user named, or None.
    subfolders: The names that the data set's own folder may have.

  Raises:
    UserError: If `data_dir` is given and is not a folder.
  """
  given = base.data_folder(data_dir) if data_dir else None
  roots = [root for root in (given, os.environ.get(VARIABLE), cache_dir()) if root]
  return [os.path.join(os.path.expanduser(root), sub) for root in roots for sub in ('', *subfolders)]


def find(data_dir: str | None, subfolders: Sequence[str], names: Sequence[str]) -> list[str]:
  """Returns the paths of files in the first of the `places` that holds all of them, or nothing.

  Args:
    data_dir: As in `places`.
    subfolders: As in `places`.
    names: The files' names; all of them have to be in one folder.
  """
  for folder in places(data_dir, *subfolders):
    paths = [os.path.join(folder, name) for name in names]
    if all(os.path.isfile(path) for path in paths):
      return paths
  return []


def nowhere(data_dir: str | None, subfolders: Sequence[str]) -> str:
  """Returns what a message says behind the name of something that is in none of the `places`.

  Args:
    data_dir: As in `places`.
    subfolders: As in `places`.
  """
  roots = ', '.join(map(os.path.normpath, places(data_dir)))
  return f'is not in {roots}, nor in their folders {", ".join(subfolders)}.'


def not_a_name(flag: str, value: str | None) -> str:
  """Returns one line on why a flag's value cannot be the name of a file in one of the `places`; empty if it can.

  Args:
    flag: The flag's name.
    value: Its value, or None.
  """
  if value is None or os.path.basename(value) == value:
    return ''
  return f'--{flag}={value}: the name of a file is needed, without its folder, which --data_dir names.'


def cache_dir() -> str:
  """Returns the folder that downloads are kept in."""
  return os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'fedprox_tff')


def sha256(path: str) -> str:
  """Returns the SHA-256 of a file's content.

  Raises:
    DataError: If it cannot be read.
  """
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise DataError(f'{path} cannot be read: {error.strerror}.') from error


def verify(path: str, known: str, what: str) -> None:
  """Refuses a file that is not the published one.

  Args:
    path: The file.
    known: The SHA-256 that it must have.
    what: What it is a file of, such as 'MUTAG'.

  Raises:
    DataError: If it has another.
  """
  found = sha256(path)
  if found != known:
    raise DataError(
      f'{path} is not the published file of {what} or is cut short: its sha256 is {found}, not {known}. Replace or '
      'remove it.'
    )


def download(url: str, path: str, known: str, what: str) -> str:
  """Downloads a file to `path`, where it appears only once it is whole and verified; returns `path`.

  Args:
    url: Where it is.
    path: Where it goes.
    known: Its SHA-256.
    what: What it is a file of.

  Raises:
    DataError: If it cannot be had.
  """
  return download_checked(url, path, lambda unfinished: verify(unfinished, known, what), what)


def download_checked(url: str, path: str, check: Callable[[str], Any], what: str) -> str:
  """Downloads a file that is known by something else than its own SHA-256, such as an archive by what is in it.

  Args:
    url: Where it is.
    path: Where it goes.
    check: Called with the path of the whole file before it appears; raises `DataError` to refuse it.
    what: What it is a file of.

  Raises:
    DataError: If it cannot be had.
  """
  with fetching(what):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with files.replacing(pathlib.Path(path)) as unfinished:
      with urllib.request.urlopen(url) as answer, open(unfinished, 'wb') as file:
        shutil.copyfileobj(answer, file)
      check(str(unfinished))
  return path


@contextlib.contextmanager
def fetching(what: str, *, instead: str = 'docs/how-to/get-the-data.md says which') -> Iterator[None]:
  """Makes of whatever goes wrong with a download in the block one line that says what to do.

  Args:
    what: The name of the data, as in 'CIFAR-100'.
    instead: What else the user can do or read.

  Raises:
    DataError: If anything does.
  """
  timeout = socket.getdefaulttimeout()
  try:
    socket.setdefaulttimeout(TIMEOUT)  # urllib's own is to wait for ever
    yield
  except Exception as error:  # Keras and TFF raise a bare Exception for whatever urllib met
    raise DataError(
      f'{what} is not on this machine and could not be downloaded ({error}). Put its files in a folder and name it '
      f'with --data_dir or ${VARIABLE}; {instead}.'
    ) from error
  finally:
    socket.setdefaulttimeout(timeout)
