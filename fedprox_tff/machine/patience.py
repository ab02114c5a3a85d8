# SPDX-License-Identifier: Apache-2.0
"""Errors that pass: a shared disk may be away for a moment, and then be there again."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar('T')

_SECONDS = 10.0  # after which an error is there to stay
_PAUSE_SECONDS = 0.5
# Something of another kind stands in the way, and will still stand there.
_STAYING = {errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS, errno.EEXIST}


def patiently(work: Callable[[], T], seconds: float = _SECONDS) -> T:
  """Returns what `work` does; it is tried again while the system refuses.

  Args:
    work: What may be done twice.
    seconds: How long it is tried.

  Raises:
    OSError: If it still fails then, or for a reason that no waiting mends.
  """
  until = time.monotonic() + seconds
  while True:
    try:
      return work()
    except OSError as error:
      if error.errno in _STAYING or time.monotonic() > until:
        raise
      time.sleep(_PAUSE_SECONDS)
