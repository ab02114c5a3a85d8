# SPDX-License-Identifier: Apache-2.0
"""How much of this machine a process may use: cores and memory. Needs nothing but the standard library."""

import contextlib
import math
import os
import pathlib
import re

GIB = 2**30


def usable_cores() -> int:
  """Returns the number of cores that this process may use; a job of a cluster seldom has them all."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def free_memory(
  proc: pathlib.Path = pathlib.Path('/proc'), groups: pathlib.Path = pathlib.Path('/sys/fs/cgroup')
) -> float:
  """Returns the bytes that this process can have without swapping, NaN where nobody says so.

  That is what is free on the machine, and no more than the limit of a control group that the process is in.

  Args:
    proc: Where Linux says what is free, and in which group a process is.
    groups: Where Linux keeps the control groups.
  """
  try:
    kibibytes = re.search(r'^MemAvailable:\s+(\d+) kB', (proc / 'meminfo').read_text(), re.MULTILINE)
  except OSError:
    return math.nan
  if not kibibytes:
    return math.nan
  return min([float(kibibytes[1]) * 1024, *_limits(proc, groups)])


def _limits(proc: pathlib.Path, groups: pathlib.Path) -> list[float]:
  """Returns the limits of the group of this process and of those that the group is in."""
  try:
    group = (proc / 'self' / 'cgroup').read_text().split('::')[1].strip().lstrip('/')
  except (OSError, IndexError):
    return []
  limits = []
  for name in (pathlib.PurePath(group), *pathlib.PurePath(group).parents):
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
      limits.append(float((groups / name / 'memory.max').read_text()))
  return limits
