# SPDX-License-Identifier: Apache-2.0
"""What a program says to its user, and its exit codes."""

import os
import sys
from typing import TextIO

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130  # 130 is what shells have for a process that Ctrl-C ended


def say(text: str = '', *, stream: TextIO | None = None, end: str = '\n') -> None:
  """Writes text at once. A reader that goes away, as `| head` does, must not end a run: what follows is for nobody."""
  stream = stream or sys.stdout
  try:
    stream.write(text + end)
    stream.flush()
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
