# SPDX-License-Identifier: Apache-2.0
"""A small Ray cluster on this machine: two nodes, each of which may use one core."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator

from benchmarks._cores import bind
from benchmarks._ray_meter import Meter
from fedprox_tff.cluster import connection
from fedprox_tff.core.errors import UserError
from tests import ray_nodes

_PLACES = (2, 1)  # for workers, on each node: one of its own, and on the first also that of a crew of one


@contextlib.contextmanager
def two_nodes(who: str) -> Iterator[Meter]:
  """Starts the cluster, joins it, and yields the module `ray` behind a meter; all of it ends with the block.

  The processes of a node may use one core, so that the rest of the machine does not help it. This process may use all.

  Args:
    who: What needs Ray, for messages.

  Raises:
    UserError: If Ray is not installed.
  """
  if importlib.util.find_spec('ray') is None:
    raise UserError(f'{who}: Ray is not installed here; "make ray" installs it.')
  cores = sorted(os.sched_getaffinity(0))
  with ray_nodes.cluster(*_PLACES) as (address, nodes):
    for node, core in zip(nodes, (cores[0], cores[-1]), strict=True):
      for process in [node, *node.children(recursive=True)]:
        bind(process.pid, {core})
    with connection.joined(address, who) as ray:
      yield Meter(ray)
