# SPDX-License-Identifier: Apache-2.0
"""metrics.csv: one row a round, read strictly, and restored from a checkpoint where it was damaged.

A checkpoint holds the text of the file up to its round. Whatever happens to the file then, be it an editor that rounds
numbers or a disk that loses its end, the rows that a checkpoint vouches for are there.
"""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedprox_tff.machine import files
from fedprox_tff.training.columns import ROUND_NUM

NAME = 'metrics.csv'
_TAIL_BYTES = 1 << 16  # holds many rows


class Rows(NamedTuple):
  """The rows of a file, as far as they are whole and those of the rounds 0, 1, 2 and so on."""

  rows: list[dict[str, float]]
  flaw: str  # what is wrong with the line after them, such as 'line 7: ...'; empty if they are all


class MetricsFile:
  """The metrics.csv of an open run."""

  def __init__(self, path: pathlib.Path):
    """Makes the file of a run that begins; `restore` takes up the rows of an earlier part of it."""
    self._path = path
    self._lines: list[bytes] = []  # of the file, header and rows, each with its end

  def restore(self, text: bytes, aside: pathlib.Path, *, keep_later: bool = False) -> str:
    """Makes the file what a checkpoint says that it was after its round: rows that came later are removed.

    Args:
      text: The file up to the checkpoint's round.
      aside: The folder that a damaged file is moved to.
      keep_later: Whether a file with later rows is moved there, too.

    Returns:
      What was wrong with the file; empty if it only has later rows.

    Raises:
      OSError: If the file cannot be read or written.
    """
    found, expected = _content(self._path), parse(text).rows
    flaw = '' if found.startswith(text) else _difference(parse(found), expected)
    lines = (text if flaw else found).splitlines(keepends=True)
    self._lines = lines[: len(expected) + 1]  # perhaps with columns that came later
    has_later = len(lines) > len(self._lines)
    if found and (flaw or (has_later and keep_later)):
      files.set_aside(self._path, aside)
    if flaw or has_later:
      files.write_bytes(self._path, b''.join(self._lines))
    return flaw

  def take_up(self, num_rows: int) -> str:
    """Takes up the first rows as they are, which no checkpoint vouches for, and removes what comes later.

    Returns:
      What is wrong with them, if anything; the file is then as it was.
    """
    content = _content(self._path)
    if len(parse(content).rows) < num_rows:
      return parse(content).flaw or f'line {num_rows + 1}: it ends before'
    lines = content.splitlines(keepends=True)
    self._lines = lines[: num_rows + 1]
    if len(lines) > len(self._lines):
      files.write_bytes(self._path, b''.join(self._lines))
    return ''

  def remove(self) -> None:
    """Removes the file, so that the run begins anew."""
    self._path.unlink(missing_ok=True)
    self._lines = []

  def append(self, row: Mapping[str, float], round_num: int) -> None:
    """Writes the row of a round, the one after the newest.

    Raises:
      OSError: If it cannot be written.
    """
    columns = [ROUND_NUM.name, *sorted(row)]
    self._add_columns(columns)
    added = [] if self._lines else [_line(columns)]
    added.append(_line([str(round_num), *(str(row[name]) for name in columns[1:])]))
    with files.naming(self._path), self._path.open('ab') as file:
      file.write(b''.join(added))
    self._lines += added

  def make_lasting(self) -> None:
    """Returns when the rows so far are on the disk.

    Raises:
      OSError: If they cannot be brought there.
    """
    if self._lines:
      files.make_lasting([self._path])

  def rows(self) -> list[dict[str, float]]:
    """Returns the rows so far."""
    return parse(b''.join(self._lines)).rows

  def text_to(self, round_num: int) -> bytes:
    """Returns the file up to the row of a round, for a checkpoint."""
    return b''.join(self._lines[: round_num + 2])

  def _add_columns(self, columns: Sequence[str]) -> None:
    """Gives rows of an earlier version the columns that came later, NaN."""
    if not self._lines or self._lines[0].split() == _line(columns).split():
      return
    there = self._lines[0].decode().strip().split(',')
    rows = [dict(zip(there, line.decode().strip().split(','), strict=True)) for line in self._lines[1:]]
    self._lines = [_line(columns), *(_line([row.get(name, str(math.nan)) for name in columns]) for row in rows)]
    files.write_bytes(self._path, b''.join(self._lines))


def read(folder: pathlib.Path) -> Rows:
  """Returns the whole rows in a run's folder; none if there is no file of them.

  Raises:
    OSError: If the file cannot be read.
  """
  return parse(_content(folder / NAME))


def parse(content: bytes) -> Rows:
  """Returns the rows of a file's content."""
  columns: list[str] = []
  rows: list[dict[str, float]] = []
  for number, line in enumerate(content.splitlines(keepends=True), start=1):
    try:
      fields = _text(line).rstrip('\r\n').split(',')
      if not line.endswith(b'\n'):
        raise ValueError('it has no end')
      if columns:
        rows.append(_row(columns, fields, number - 2))
      else:
        columns = _columns(fields)
    except ValueError as error:
      return Rows(rows, f'line {number}: {error}')
  return Rows(rows, '')


def last_round(folder: pathlib.Path) -> int:
  """Returns the round of the last row in a folder, 0 if there is none; a process may be writing right now.

  This is quick and believes what it reads: what counts is `read`.
  """
  try:
    with (folder / NAME).open('rb') as file:
      file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
      tail = file.read()
    return max(0, int(tail[: tail.rfind(b'\n')].rpartition(b'\n')[2].partition(b',')[0]))
  except (OSError, ValueError):  # ValueError: the header alone
    return 0


def has_all_of(folder: pathlib.Path, text: bytes) -> bool:
  """Returns whether the file in a folder has the rows that a checkpoint holds."""
  found = _content(folder / NAME)
  return found.startswith(text) or not _difference(parse(found), parse(text).rows)


def _difference(found: Rows, expected: Sequence[Mapping[str, float]]) -> str:
  """Compares numbers, not text; where a value is NaN, its column may have come later."""
  for number, row in enumerate(expected, start=2):
    if number - 2 >= len(found.rows):
      return found.flaw or f'line {number}: it ends before'
    there = found.rows[number - 2]
    for name, value in row.items():
      if there.get(name, math.nan) != value and not (math.isnan(value) and math.isnan(there.get(name, math.nan))):
        return f'line {number}: {name} is {there.get(name, "not there")}, where the run wrote {value}'
  return ''


def _text(line: bytes) -> str:
  try:
    return line.decode()
  except UnicodeDecodeError:
    raise ValueError('it is not text') from None


def _columns(fields: Sequence[str]) -> list[str]:
  if fields[0] != ROUND_NUM.name or len(set(fields)) < len(fields):
    raise ValueError(f'a header is needed, {ROUND_NUM.name} and the names of other columns')
  return list(fields)


def _row(columns: Sequence[str], fields: Sequence[str], round_num: int) -> dict[str, float]:
  if len(fields) != len(columns):
    raise ValueError(f'it has {len(fields)} fields, and the header {len(columns)}')
  row = {}
  for name, field in zip(columns, fields, strict=True):
    try:
      row[name] = float(field)
    except ValueError:
      raise ValueError(f'{name} is {field[:40]!r}, not a number') from None
  if row[ROUND_NUM.name] != round_num:
    raise ValueError(f'it has round {fields[0]}, where {round_num} is due')
  return row


def _line(fields: Sequence[str]) -> bytes:
  return (','.join(fields) + '\n').encode()


def _content(path: pathlib.Path) -> bytes:
  try:
    with files.naming(path):
      return path.read_bytes()
  except FileNotFoundError:
    return b''
