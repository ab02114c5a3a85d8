# SPDX-License-Identifier: Apache-2.0
"""What a program says to its user, and its exit codes."""

import contextlib
import os
import sys
from typing import TextIO

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130  # 130 is what shells have for a process that Ctrl-C ended


def say(text: str = '', *, stream: TextIO | None = None, end: str = '\n') -> None:
  """Writes text at once, as far as that is possible: nothing that is said may end a run.

  A reader may go away, as `| head` does, a terminal may be closed, a disk may be full, or nobody may listen at all.
  Then what follows is for nobody. A letter that the stream has no code for is written as an escape.
  """
  stream = stream or sys.stdout
  if stream is None:  # as with `>&-`
    return
  try:
    stream.write(_writable(text + end, stream))
    stream.flush()
  except (OSError, ValueError):  # ValueError: it is closed
    with contextlib.suppress(OSError, ValueError):
      descriptor = stream.fileno()
      os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def is_terminal(stream: TextIO | None) -> bool:
  """Returns whether somebody looks on."""
  return stream is not None and stream.isatty()


def _writable(text: str, stream: TextIO) -> str:
  encoding = getattr(stream, 'encoding', None) or 'utf-8'
  return text.encode(encoding, 'backslashreplace').decode(encoding)
