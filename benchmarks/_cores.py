# SPDX-License-Identifier: Apache-2.0
"""Which cores a process may use."""

import contextlib
import os
from collections.abc import Collection, Iterator


@contextlib.contextmanager
def use_cores(cores: Collection[int] | None) -> Iterator[None]:
  """Lets this process use these cores in the block; None: those that it uses already."""
  if cores is None:
    yield
    return
  before = os.sched_getaffinity(0)
  bind(os.getpid(), cores)
  try:
    yield
  finally:
    bind(os.getpid(), before)


def bind(pid: int, cores: Collection[int]) -> None:
  """Lets a process use these cores, all its threads and what they will start."""
  for thread in os.listdir(f'/proc/{pid}/task'):
    with contextlib.suppress(ProcessLookupError):  # it has ended
      os.sched_setaffinity(int(thread), cores)
