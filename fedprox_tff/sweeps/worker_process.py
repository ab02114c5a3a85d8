# SPDX-License-Identifier: Apache-2.0
"""A process of a sweep: python -m fedprox_tff.sweeps.worker_process SESSION, which `fedprox_tff.sweep` starts."""

import ctypes
import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from fedprox_tff.machine import frameworks
from fedprox_tff.machine.console import INTERRUPTED
from fedprox_tff.sweeps import session_folder
from fedprox_tff.sweeps.worker import Stop, work

_PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str]) -> int:
  """Works on the session whose file is the argument, and returns an exit code."""
  stop = stop_by_signals()
  path = pathlib.Path(argv[1])
  try:
    begun = session_folder.read(path)
  except FileNotFoundError:  # the sweep has ended
    return INTERRUPTED
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # the sweep may be killed; its cells are to be left tidily
  if os.getppid() != begun.pid:
    return INTERRUPTED
  return work(path, stop)


def stop_by_signals() -> Stop:
  """Returns what signals request.

  SIGTERM is how the sweep ends its processes, so that it is heard in any case; the others stay ignored if they are.
  """
  stop = Stop()
  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, stop.request)
  return stop


if __name__ == '__main__':
  frameworks.leave(main(sys.argv))
