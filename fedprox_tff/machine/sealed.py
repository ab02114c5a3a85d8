# SPDX-License-Identifier: Apache-2.0
"""Sealed files: arrays, what they are, and a digest over all of it, so that damage is noticed when they are read.

    fedprox_tff sealed 1\n
    {"about": {...}, "arrays": [[name, type, shape], ...]}\n      JSON on one line
    the arrays' bytes, each from a multiple of 64 on
    SHA-256 of all that, 32 bytes

Reading one runs no code and parses nothing but JSON. `np.load` will not do: it parses each header with
`ast.literal_eval`, and CPython 3.11 has one recursion depth for all threads there, so that threads that read at the
same time fail now and then.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.core.errors import DamagedError
from fedprox_tff.machine import files

_MAGIC = b'fedprox_tff sealed 1\n'
_ALIGNMENT = 64  # bytes
_DIGEST_BYTES = hashlib.sha256().digest_size
_KINDS = 'biuf'  # of numpy's types: numbers alone


class Sealed(NamedTuple):
  """What a sealed file holds."""

  about: dict[str, Any]
  arrays: dict[str, np.ndarray]  # that nobody can write to
  digest: bytes  # 32 bytes that tell this file from any other


def write(
  path: pathlib.Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, lasting: bool = False
) -> bytes:
  """Writes a file, whole or not at all, and returns its digest.

  Args:
    path: The file.
    about: What JSON can hold.
    arrays: Numbers by name.
    lasting: Whether the file is on the disk when this returns.

  Raises:
    OSError: If it cannot be written; it names `path`.
  """
  digest = hashlib.sha256()
  with files.replacing(path, lasting=lasting) as unfinished, unfinished.open('wb') as file:
    for piece in _pieces(about, {name: np.asarray(array) for name, array in arrays.items()}):
      digest.update(piece)
      file.write(piece)
    file.write(digest.digest())
  return digest.digest()


def read(path: pathlib.Path) -> Sealed:
  """Returns what a file holds.

  Raises:
    DamagedError: If the file is missing, is no sealed one, or is not as it was written; it names `path`.
    OSError: If the file may be good and cannot be read.
  """
  try:
    with files.naming(path):
      content = path.read_bytes()
  except FileNotFoundError:
    raise DamagedError(f'{path} is missing') from None
  except IsADirectoryError:
    raise DamagedError(f'{path} is a folder') from None
  if not content:
    raise DamagedError(f'{path} is empty')
  body, digest = memoryview(content)[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
  if not content.startswith(_MAGIC):
    raise DamagedError(f'{path} is not a file of this suite')
  if hashlib.sha256(body).digest() != digest:
    raise DamagedError(f'{path} is damaged: its content does not have the digest that was written with it')
  try:
    end = content.index(b'\n', len(_MAGIC)) + 1
    header = json.loads(content[len(_MAGIC) : end])
    arrays = dict(_arrays(header['arrays'], body, end))
    return Sealed(dict(header['about']), arrays, digest)
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise DamagedError(f'{path} is of another version ({" ".join(str(error).split())})') from None


def _pieces(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Iterator[bytes | memoryview]:
  """Yields the bytes of a file, up to its digest."""
  described = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
  header = _MAGIC + json.dumps({'about': dict(about), 'arrays': described}).encode() + b'\n'
  yield header
  size = len(header)
  for array in arrays.values():
    padding = -size % _ALIGNMENT
    yield bytes(padding)
    yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    size += padding + array.nbytes


def _arrays(described: list[Any], body: memoryview, start: int) -> Iterator[tuple[str, np.ndarray]]:
  """Yields the arrays by name, as views into the file's content."""
  for name, kind, shape in described:
    dtype = np.dtype(kind)
    if dtype.kind not in _KINDS:
      raise ValueError(f'{name} is of type {kind}')
    start += -start % _ALIGNMENT
    size = math.prod(shape) * dtype.itemsize
    yield name, np.frombuffer(body[start : start + size], dtype).reshape(shape)
    start += size
