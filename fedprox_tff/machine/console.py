# SPDX-License-Identifier: Apache-2.0
"""Lines for the user. A reader that goes away, as `| head` does, must not end a run."""

import os
import sys
from typing import TextIO


def say(text: str = '', *, stream: TextIO | None = None, end: str = '\n') -> None:
  """Writes text at once; once nobody reads the stream any more, what is said there is for nobody."""
  stream = stream or sys.stdout
  try:
    stream.write(text + end)
    stream.flush()
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
