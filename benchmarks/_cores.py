# SPDX-License-Identifier: Apache-2.0
"""Which cores this process may use."""

import contextlib
import os
from collections.abc import Collection, Iterator


@contextlib.contextmanager
def use_cores(cores: Collection[int] | None) -> Iterator[None]:
  """Lets all threads of this process use these cores in the block; None: those that they use already.

  What is started in the block is bound by it too: threads until its end, processes for ever.
  """
  if cores is None:
    yield
    return
  before = os.sched_getaffinity(0)
  _bind(cores)
  try:
    yield
  finally:
    _bind(before)


def _bind(cores: Collection[int]) -> None:
  for thread in os.listdir('/proc/self/task'):
    with contextlib.suppress(ProcessLookupError):  # it has ended
      os.sched_setaffinity(int(thread), cores)
