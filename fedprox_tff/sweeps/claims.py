# SPDX-License-Identifier: Apache-2.0
"""Who works on which cell: one small file per cell, on a disk that all sweeps of a folder share.

    .claims/<cell>.<generation>    the cell's owner (node, process) and whether it runs, was released, or failed

Claiming a cell is creating the file of its next generation with O_EXCL, which one process alone can. No file is removed
or taken from its owner before the cell is done, so there is no moment at which two takers of a dead owner's cell could
both succeed: whoever judged generation g to be dead can only try to create g + 1, once. Whatever else is in such a file
is an owner's that has not written it yet.

An owner shows that it lives by touching its file. It is dead if its process is gone, which processes on its own node
see at once, or if its file was not touched for a minute, which is what others see. All times are those of the disk's
clock, so that machines need not agree about the time.

An owner that could not touch its file for most of that minute, because it slept or the disk was away, cannot know
whether it still is the owner. It writes nothing until it has created generation g + 1 itself. If another one has, it
has lost the cell.
"""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import re
import tempfile
import threading
import time
from typing import Any, Literal, get_args

from fedprox_tff.machine import files
from fedprox_tff.machine.patience import patiently
from fedprox_tff.machine.processes import node, start_of

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
_LEASE = 0.75  # of that time an owner relies on a touch; the rest is for the clocks, and for what it is writing
ATTEMPTS = 2  # of a cell, by one sweep, if the processes that ran it died

State = Literal['running', 'released', 'failed']

_NAME = re.compile(r'(.+)\.(0|[1-9][0-9]{0,39})', re.ASCII | re.DOTALL)  # a claim's: the cell and the generation
_ODD = {errno.ENOENT, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO}  # no error of the disk
_KINDS = {'state': str, 'node': str, 'pid': int, 'started': int, 'attempt': int, 'reason': str}  # of what it says
_NUMBERS = range(2**63)  # the system's; JSON has others


@dataclasses.dataclass(frozen=True)
class Record:
  """The newest file of one cell."""

  generation: int
  modified: float  # by the disk's clock
  state: State = 'running'
  node: str = ''
  pid: int = 0
  started: int = 0  # when the process started, which tells it from a later one of the same number
  attempt: int = 1
  reason: str = ''  # of a failure


class Claims:
  """The claims in a folder, as a sweep sees them that began at `since`."""

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    since: float | None = None,
    heartbeat: float = HEARTBEAT_SECONDS,
    stale: float = STALE_SECONDS,
  ):
    """Opens the folder.

    Args:
      folder: Where the claims are.
      since: When the sweep began, by the disk's clock; failures before it are tried again. None: it begins now.
      heartbeat: Seconds between two touches of a claim.
      stale: Seconds without a touch after which an owner on another node is dead.
    """
    self.folder, self._heartbeat, self._stale = folder, heartbeat, stale
    if since is None:
      folder.mkdir(parents=True, exist_ok=True)
      since = self._now()
    self.since = since

  def records(self) -> dict[str, Record]:
    """Returns the newest record of each cell that has one."""
    newest: dict[str, int] = {}
    for name in os.listdir(self.folder) if self.folder.exists() else ():
      if match := _NAME.fullmatch(name):
        newest[match[1]] = max(newest.get(match[1], 0), int(match[2]))
    records = {cell: self.read(cell, generation) for cell, generation in newest.items()}
    return {cell: record for cell, record in records.items() if record}

  def is_held(self, record: Record | None) -> bool:
    """Returns whether a living process works on the cell."""
    if record is None or record.state != 'running':
      return False
    if record.node == node():
      return start_of(record.pid) == record.started
    return abs(self._now() - record.modified) < self._stale  # a time to come is no owner's that touches it, either

  def has_failed(self, record: Record | None) -> bool:
    """Returns whether the cell failed since this sweep began, and so is not tried again."""
    return record is not None and record.state == 'failed' and record.modified >= self.since

  def acquire(self, cell: str) -> 'Claim | None':
    """Claims a cell; returns None if another process has it, or if it has failed.

    A cell whose owners died `ATTEMPTS` times since this sweep began, as they do when memory runs out, fails here.
    """
    return self.take(cell, self.records().get(cell))

  def take(self, cell: str, record: Record | None) -> 'Claim | None':
    """Claims a cell whose newest record is known, as far as it still is the newest; see `acquire`."""
    if self.is_held(record) or self.has_failed(record):
      return None
    began = _clock()
    died = record is not None and record.state == 'running' and record.modified >= self.since
    mine = Record(
      generation=record.generation + 1 if record else 0,
      modified=0.0,
      node=node(),
      pid=os.getpid(),
      started=start_of(os.getpid()),
      attempt=record.attempt + 1 if died else 1,
    )
    if mine.attempt > ATTEMPTS:
      reason = f'its process died {ATTEMPTS} times, the last time without a word (was the memory enough?)'
      self.create(cell, dataclasses.replace(mine, state='failed', reason=reason))
      return None
    if not self.create(cell, mine):
      return None
    return Claim(self, cell, mine, began=began, heartbeat=self._heartbeat, lease=_LEASE * self._stale)

  def remove(self, cell: str, generation: int) -> None:
    """Removes the claims of a cell that is done, up to a generation; the newest goes last, since it is what counts."""
    with contextlib.suppress(OSError):  # what cannot be removed is in nobody's way: the cell is done
      matches = [match for name in os.listdir(self.folder) if (match := _NAME.fullmatch(name))]
      for number in sorted(int(match[2]) for match in matches if match[1] == cell):
        if number <= generation:
          with contextlib.suppress(OSError):
            self.path(cell, number).unlink()

  def path(self, cell: str, generation: int) -> pathlib.Path:
    """Returns the file of a claim."""
    return self.folder / f'{cell}.{generation}'

  def create(self, cell: str, record: Record) -> bool:
    """Creates the file of a claim; returns whether there was none."""
    try:
      file = os.open(self.path(cell, record.generation), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
      return False
    with os.fdopen(file, 'w') as stream:
      stream.write(to_json(record))
    return True

  def read(self, cell: str, generation: int) -> Record | None:
    """Returns a record; None if the cell was done just now, and one of nobody's if its owner has not written it yet."""
    path = self.path(cell, generation)
    try:
      # Opened, since NFS may answer a mere stat from its cache; without waiting, in case it is a pipe.
      with open(path, 'rb', opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        modified, values = os.fstat(stream.fileno()).st_mtime, _values(stream.read())
    except OSError as error:
      if error.errno not in _ODD:
        raise
      try:
        modified, values = path.lstat().st_mtime, {}  # a folder, a link to nowhere: nobody's
      except FileNotFoundError:
        return None
    return Record(generation=generation, modified=modified, **values)

  def _now(self) -> float:
    """Returns the time by the clock that stamps the claims."""
    with tempfile.TemporaryFile(dir=self.folder) as stream:
      os.utime(stream.fileno())
      return os.fstat(stream.fileno()).st_mtime


class Claim:
  """A cell of this process; touched by a thread until it is given up in one of three ways."""

  def __init__(self, claims: Claims, cell: str, record: Record, *, began: float, heartbeat: float, lease: float):
    self._claims, self._cell, self._record = claims, cell, record
    self._heartbeat, self._lease = heartbeat, lease
    self._until = began + lease  # when another process might take the cell, by our clock
    self._end = threading.Event()
    self._changing = threading.Lock()
    self.is_lost = False  # to one who took this process for dead: it was suspended, or cut off from the disk
    self._thread = threading.Thread(target=self._beat, name=f'claim of {cell}', daemon=True)
    self._thread.start()

  def is_mine(self) -> bool:
    """Returns whether the cell still is this process's, and will be for a while: to ask before anything is written.

    Raises:
      OSError: If the disk does not say so.
    """
    with self._changing:
      if not self.is_lost and _clock() >= self._until:
        self._renew()
      return not self.is_lost

  def finish(self) -> None:
    """The cell is done: nobody needs its claims any more."""
    self._stop()
    self._claims.remove(self._cell, self._record.generation)

  def release(self) -> None:
    """The cell is left as it is; anybody may go on with it."""
    self._leave('released', '')

  def fail(self, reason: str) -> None:
    """The cell failed: sweeps that have begun leave it alone, those to come try again."""
    self._leave('failed', reason)

  def _leave(self, state: State, reason: str) -> None:
    self._stop()
    if self.is_lost:
      return
    text = to_json(dataclasses.replace(self._record, state=state, reason=reason))
    patiently(lambda: files.write_text(self._path, text))

  def _stop(self) -> None:
    self._end.set()
    self._thread.join()

  def _beat(self) -> None:
    while not self._end.wait(self._heartbeat):
      with contextlib.suppress(OSError), self._changing:  # the disk is away for a while
        self._touch()

  def _touch(self) -> None:
    began = _clock()
    if self.is_lost:
      return
    if began >= self._until:
      self._renew()
      return
    try:
      os.utime(self._path)
      self.is_lost = self._claims.path(self._cell, self._record.generation + 1).exists()
    except FileNotFoundError:
      self.is_lost = True
    if _clock() < self._until:  # else the touch may have come too late
      self._until = began + self._lease

  def _renew(self) -> None:
    """Claims the cell as any other process would have to that takes this one for dead: one of them can."""
    began, old = _clock(), self._record
    new = dataclasses.replace(old, generation=old.generation + 1)
    if not self._claims.create(self._cell, new):
      self.is_lost = True
    elif self._claims.read(self._cell, old.generation) is None:  # another one finished the cell and removed its claims
      self._claims.path(self._cell, new.generation).unlink(missing_ok=True)
      self.is_lost = True
    else:
      self._record, self._until = new, began + self._lease

  @property
  def _path(self) -> pathlib.Path:
    return self._claims.path(self._cell, self._record.generation)


def _clock() -> float:
  """Returns seconds by a clock that runs on while the machine is suspended."""
  return time.clock_gettime(time.CLOCK_BOOTTIME)


def _values(content: bytes) -> dict[str, Any]:
  """Returns what a claim's file says; nothing if that is not what an owner writes, or has written to its end."""
  try:
    values = json.loads(content)
  except (ValueError, RecursionError):
    return {}
  if not isinstance(values, dict):
    return {}
  known = {name: values[name] for name in _KINDS if name in values}  # a later version may say more
  fits = all(type(value) is _KINDS[name] for name, value in known.items())
  fits = fits and all(value in _NUMBERS for name, value in known.items() if _KINDS[name] is int)
  if not fits or known.get('state', 'running') not in get_args(State):
    return {}
  if 'reason' in known:  # it is shown in one line
    known['reason'] = ''.join(letter if letter.isprintable() else ' ' for letter in known['reason'])
  return known


def to_json(record: Record) -> str:
  """Returns what a claim's file says."""
  values = dataclasses.asdict(record)
  return json.dumps({key: value for key, value in values.items() if key not in ('generation', 'modified')})
