# SPDX-License-Identifier: Apache-2.0
"""A small Ray cluster on this machine: two nodes, each of which may use one core."""

import contextlib
import logging
import os
from collections.abc import Iterator

from benchmarks._cores import use_cores
from benchmarks._ray_meter import Meter
from fedprox_tff.cluster import connection
from fedprox_tff.core.errors import UserError

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
  os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
  try:
    from ray.cluster_utils import Cluster
  except ImportError:
    raise UserError(f'{who}: Ray is not installed here; "make ray" installs it.') from None
  logging.getLogger('ray').setLevel(logging.ERROR)  # it would say which address of an earlier cluster it replaces
  cores = sorted(os.sched_getaffinity(0))
  cluster = Cluster()
  try:
    for places, core in zip(_PLACES, (cores[0], cores[-1]), strict=True):
      with use_cores({core}):
        cluster.add_node(num_cpus=places, include_dashboard=False)
    with connection.joined(cluster.address, who) as ray:
      yield Meter(ray)
  finally:
    cluster.shutdown()
