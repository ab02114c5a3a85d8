# SPDX-License-Identifier: Apache-2.0
"""Questions to this machine whose answer could fail or hang: each is put to a process of its own, with a time limit."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_ANSWER = 'no answer'


class Answer(NamedTuple):
  """What a probe said."""

  output: str  # the last line that it printed
  problem: str  # what went wrong in one line, or nothing
  seconds: float


def ask(code: str, timeout: float) -> Answer:
  """Runs code in a Python of its own for at most `timeout` seconds, and leaves no process behind."""
  start = time.monotonic()
  # Files, not pipes: TFF's worker inherits them, and a pipe has no end while one of its writers lives.
  with tempfile.TemporaryFile('w+') as output, tempfile.TemporaryFile('w+') as errors:
    process = subprocess.Popen(
      [sys.executable, '-c', code],
      cwd=ROOT,
      env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
      stdin=subprocess.DEVNULL,
      stdout=output,
      stderr=errors,
      start_new_session=True,  # a process group of its own, to be ended as one
    )
    try:
      status = process.wait(timeout)
      problem = '' if status == 0 else f'{_last_line(errors) or "no word"} (exit status {status})'
    except subprocess.TimeoutExpired:
      problem = f'{NO_ANSWER} within {timeout:.0f} s'
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()
    return Answer(_last_line(output), problem, time.monotonic() - start)


def _last_line(file: IO[str]) -> str:
  file.seek(0)
  return (file.read().strip().splitlines() or [''])[-1].strip()
