# SPDX-License-Identifier: Apache-2.0
"""What a sweep says: one live line for all its cells on a terminal, a few plain ones otherwise, and a table."""

import collections
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TextIO

from fedprox_tff.machine.console import is_terminal, say
from fedprox_tff.sweeps.search import Choice
from fedprox_tff.sweeps.status import Status
from fedprox_tff.training import metrics_file, outcome
from fedprox_tff.training.columns import ROUND_NUM
from fedprox_tff.training.run_folder import folder, log_path

_PLAIN_LINES = 20  # about so many over a whole sweep
_WINDOW_SECONDS = 120.0  # of the recent past that the speed is measured in


class Report:
  """Reports the progress of all cells together."""

  def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
    self._stream, self._clock = stream or sys.stdout, clock
    self._live = is_terminal(self._stream)
    self._samples: collections.deque[tuple[float, int]] = collections.deque()
    self._last_step: tuple[int, int] | None = None

  def update(self, statuses: Sequence[Status]) -> None:
    """Shows where the cells are."""
    rounds = sum(status.rounds for status in statuses)
    self._sample(rounds)
    line = summary(statuses) + self._speed(statuses)
    if self._live:
      width = shutil.get_terminal_size().columns - 1  # a longer line would wrap, and stay
      say(f'\r\x1b[K{line[:width]}', stream=self._stream, end='')
    else:
      total = sum(status.config.rounds for status in statuses)
      step = (_PLAIN_LINES * rounds // max(1, total), sum(status.state == 'failed' for status in statuses))
      if step != self._last_step:
        say(line, stream=self._stream)
      self._last_step = step

  def say(self, line: str) -> None:
    """Reports a line beside the live one."""
    say(f'\r\x1b[K{line}' if self._live else line, stream=self._stream)

  def close(self) -> None:
    """Leaves the live line."""
    say(stream=self._stream)

  def _sample(self, rounds: int) -> None:
    now = self._clock()
    if all(sampled == rounds for _, sampled in self._samples):
      self._samples.clear()  # nothing moves while the processes import TensorFlow
    while self._samples and now - self._samples[0][0] > _WINDOW_SECONDS:
      self._samples.popleft()
    self._samples.append((now, rounds))

  def _speed(self, statuses: Sequence[Status]) -> str:
    (since, first), (now, last) = self._samples[0], self._samples[-1]
    left = sum(s.config.rounds - s.rounds for s in statuses if s.state in ('running', 'to do', 'waiting'))
    if not left or last <= first:
      return ''
    speed = (last - first) / (now - since)
    minutes, seconds = divmod(round(left / speed), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
    return f', {speed:.1f} rounds/s, {clock} left'


def summary(statuses: Sequence[Status], remark: str = '') -> str:
  """Returns one line that counts the cells and their rounds; `remark` stands behind the number of those done."""
  count = collections.Counter(status.state for status in statuses)
  parts = [f'{count["done"]} of {len(statuses)} cells done{remark}']
  parts += [f'{count[state]} {state}' for state in ('running', 'failed') if count[state]]
  rounds, total = (sum(values) for values in zip(*((s.rounds, s.config.rounds) for s in statuses), strict=True))
  return f'{", ".join(parts)}; {rounds:,} of {total:,} rounds'


def marks(statuses: Sequence[Status]) -> dict[str, str]:
  """Returns, by name, a few words for each cell that is done and whose rows say that it did not train.

  Its rows are a result all the same.
  """
  found = {}
  for status in statuses:
    if status.state == 'done':
      rows = metrics_file.read(folder(status.config)).rows
      rows = [row for row in rows if row[ROUND_NUM.name] <= status.config.rounds]
      if trouble := outcome.trouble(rows):
        found[status.config.name] = trouble.mark
  return found


def table(
  statuses: Sequence[Status], choices: Sequence[Choice] = (), marked: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
  """Yields a line for each choice of a search, and one for each cell, for one that failed also why.

  Args:
    statuses: The cells.
    choices: The ends of searches.
    marked: What `marks` returned.
  """
  for choice in choices:
    yield f'chosen   {choice}'
  width = max(len(f'{s.config.rounds}/{s.config.rounds}') for s in statuses)
  for status in statuses:
    rounds = f'{status.rounds}/{status.config.rounds}'
    mark = marked.get(status.config.name)
    yield f'{status.state:7}  {rounds:>{width}}  {status.config.name}' + (f'  ({mark})' if mark else '')
    if status.state == 'failed':
      log = log_path(status.config)
      yield f'{"":7}  {"":{width}}  {status.reason}' + (f' ({log})' if log.exists() else '')
