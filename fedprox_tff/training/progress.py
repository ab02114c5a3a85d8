# SPDX-License-Identifier: Apache-2.0
"""What a run says while it works: a live line with the time left on a terminal, plain lines otherwise."""

import collections
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from fedprox_tff.machine.console import is_terminal, say
from fedprox_tff.training import columns

_PLAIN_LINES = 20  # about so many over a whole run
_WARNINGS = 3  # rounds that are warned of one by one, of each kind; the others are counted


class Progress:
  """Reports the rounds of one run."""

  def __init__(
    self, total_rounds: int, stream: TextIO | None = None, *, after_round: Callable[[], None] = lambda: None
  ):
    """Makes a reporter.

    Args:
      total_rounds: The rounds of the run.
      stream: Where to; None is standard output.
      after_round: Called after each round, when all of it is written: the place to end a run.
    """
    self._total = total_rounds
    self._after_round = after_round
    self._stream = stream or sys.stdout
    self._live = is_terminal(self._stream)
    self._first: tuple[int, float] | None = None  # the first round of this process and when it ended
    self._evaluated = ''
    self._warned: collections.Counter[str] = collections.Counter()  # rounds, by what was wrong
    self._next_line = 0.0  # the round from which on the next plain line is due

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *_) -> None:
    """Leaves the live line, and says how many rounds were like those that were warned of."""
    if self._live and self._first is not None:
      say(stream=self._stream)
    for what, count in self._warned.items():
      if count > _WARNINGS:
        say(f'warning: {what} in {count - _WARNINGS} more rounds, {count} in all', stream=self._stream)

  def say(self, line: str) -> None:
    """Reports a line beside the live one."""
    say(f'\r\x1b[K{line}' if self._live else line, stream=self._stream)

  def on_resume(self, round_num: int) -> None:
    """Reports that an earlier process has done the rounds up to this one."""
    if round_num > self._total:
      self.say(f'this run is done: it has {round_num} rounds, more than the {self._total} asked for')
    elif round_num == self._total:
      self.say(f'this run is done: {round_num} rounds')
    else:
      self.say(f'going on after round {round_num}')

  def on_row(self, round_num: int, row: Mapping[str, float]) -> None:
    """Reports a finished round."""
    now = time.monotonic()
    if self._first is None:
      self._first = (round_num, now)
    evaluated = not math.isnan(row[columns.TRAIN_ACCURACY.name])
    if evaluated:
      self._evaluated = (
        f'test accuracy {row[columns.TEST_ACCURACY.name]:.4f}  test loss {row[columns.TEST_LOSS.name]:.4f}  '
        f'train loss {row[columns.TRAIN_LOSS.name]:.4f}'
      )
    self._warn(round_num, row)
    counter = f'round {round_num:>{len(str(self._total))}}/{self._total}'
    line = f'{counter}{self._left(round_num, now)}  {self._evaluated}'
    if self._live:
      width = shutil.get_terminal_size().columns - 1  # a longer line would wrap, and stay
      say(f'\r\x1b[K{line[:width]}', stream=self._stream, end='')
    elif evaluated and (round_num >= self._next_line or round_num == self._total):
      say(line, stream=self._stream)
      self._next_line = round_num + self._total / _PLAIN_LINES
    self._after_round()

  def _left(self, round_num: int, now: float) -> str:
    first_round, since = self._first
    if not first_round < round_num < self._total:
      return ''
    seconds = (now - since) / (round_num - first_round) * (self._total - round_num)
    minutes, seconds = divmod(round(seconds), 60)
    return f'  {minutes}:{seconds:02d} left'

  def _warn(self, round_num: int, row: Mapping[str, float]) -> None:
    non_finite = row[columns.COHORT_NON_FINITE.name]
    if non_finite:
      self._warn_of('clients left out', f'{non_finite} clients left out, their updates are not finite', round_num)
    if row[columns.COHORT_SKIPPED.name]:
      nobody = row[columns.COHORT_SIZE.name] <= row[columns.COHORT_DROPPED.name] + non_finite
      reason = 'nobody contributed' if nobody else 'it would not lead to finite weights'
      self._warn_of("the server's step skipped", f"the server's step was skipped, {reason}", round_num)

  def _warn_of(self, kind: str, text: str, round_num: int) -> None:
    self._warned[kind] += 1
    if self._warned[kind] <= _WARNINGS:
      self.say(f'warning: round {round_num}: {text}')
