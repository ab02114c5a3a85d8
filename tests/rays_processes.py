# SPDX-License-Identifier: Apache-2.0
"""Which processes of Ray's a test has left."""

import contextlib

import psutil


def rays_processes():
  """Returns the processes of Ray's that descend from this one."""
  found = []
  for process in psutil.Process().children(recursive=True):
    with contextlib.suppress(psutil.Error):
      if any(word in ' '.join(process.cmdline()) for word in ('raylet', 'gcs_server', 'ray::')):
        found.append(process)
  return found
