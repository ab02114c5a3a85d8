# SPDX-License-Identifier: Apache-2.0
"""Which process is meant, on which machine, and whether it still lives."""

import functools
import os
import pathlib
import socket


@functools.cache
def node() -> str:
  """Returns what identifies this machine and, within it, the container: where process numbers mean the same."""
  boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  return f'{socket.gethostname()} {boot} {os.readlink("/proc/self/ns/pid")}'


def start_of(pid: int) -> int:
  """Returns when a process started, in ticks since the machine did; 0 if there is no such process any more."""
  try:
    state, *fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
  except (OSError, ValueError):
    return 0
  return 0 if state in 'ZX' else int(fields[18])
