# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and a closed terminal, so that a run ends between two rounds and never in the middle of a file.

An exception out of a signal handler lands wherever Python happens to be: in a callback that swallows it (JAX has one in
the garbage collector), or between the two halves of a save. The handler here takes a note, and the run looks at it
after each round. A second signal, or one before training has begun, ends the process on the spot: what is on disk is
whole at any moment, and TFF's worker dies with its parent.

A terminal that is closed sends SIGHUP twice, once from the shell in it and once from the system when that shell ends.
So SIGHUP is never such a second signal: nobody has asked again.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from fedprox_tff.machine.console import INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
  """What the signals so far ask for."""

  def __init__(self, farewell: str):
    self._farewell = farewell
    self._is_training = False
    self._is_requested = False

  def begin_training(self) -> None:
    """From now on the first signal waits for the end of a round."""
    self._is_training = True

  def check(self) -> None:
    """Ends the run if a signal asked for it; called where that is safe.

    Raises:
      KeyboardInterrupt: If so.
    """
    if self._is_requested:
      raise KeyboardInterrupt

  def _handle(self, number: int, _) -> None:
    if number == signal.SIGHUP and self._is_requested:
      return
    if not self._is_training or self._is_requested:
      _write(f'\n{self._farewell}\n')
      os._exit(INTERRUPTED)
    self._is_requested = True
    _write('\nstopping after this round; again to stop at once\n')


@contextlib.contextmanager
def handled(farewell: str) -> Iterator[Interrupts]:
  """Handles the signals in the block, but for those that are ignored, as SIGHUP is under nohup.

  Python has handlers in its main thread only: in another one, the program ends as its caller wants.

  Args:
    farewell: What to say when the process ends on the spot.
  """
  interrupts = Interrupts(farewell)
  with _handled_by(interrupts._handle):
    yield interrupts


@contextlib.contextmanager
def raised() -> Iterator[None]:
  """Lets each of the signals in the block raise KeyboardInterrupt, as Ctrl-C does; see `handled` for those left alone.

  This is for a program that writes nothing itself which an exception in the middle could tear.
  """
  is_raised = False

  def handle(number: int, _) -> None:
    nonlocal is_raised
    if number == signal.SIGHUP and is_raised:
      return
    is_raised = True
    raise KeyboardInterrupt

  with _handled_by(handle):
    yield


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
  is_hung_up, previous = False, {}

  def handle(number: int, frame: Any) -> None:
    nonlocal is_hung_up
    is_hung_up |= number == signal.SIGHUP
    handler(number, frame)

  if threading.current_thread() is threading.main_thread():
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in heard}
  try:
    yield
  finally:
    if is_hung_up:  # the second one may come while the program says goodbye
      previous[signal.SIGHUP] = signal.SIG_IGN
    for number, handler_before in previous.items():
      signal.signal(number, handler_before)


def _write(text: str) -> None:
  """Writes past Python's buffers, which a handler may find half-way through another write."""
  with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
    os.write(sys.stderr.fileno(), text.encode())
