# SPDX-License-Identifier: Apache-2.0
"""Asks each node of a Ray cluster for its versions, and whether it sees a file. `diagnosis` judges the answers."""

import pathlib
import time
from typing import Any

from fedprox_tff.cluster import connection
from fedprox_tff.cluster.versions import versions
from fedprox_tff.core.errors import UserError, line_of

_SHARE = 0.8  # of the time: joining and leaving the cluster belongs to it


def survey(address: str, file: str, seconds: float) -> dict[str, Any]:
  """Returns what a cluster is and what its nodes say, made of what JSON has.

  Args:
    address: The cluster's: 'auto' or 'HOST:PORT'.
    file: The path of a file that each node shall read.
    seconds: How long this may take. A node that has not answered by then has a `problem`.
  """
  until = time.monotonic() + _SHARE * seconds
  try:
    with connection.joined(address, '--ray_address') as ray:
      nodes = connection.nodes(ray)
      asked = {_ask(ray, node['NodeID'], file): node for node in nodes}
      ray.wait(list(asked), num_returns=len(asked), timeout=max(0.0, until - time.monotonic()))
      return {
        'address': ray.get_runtime_context().gcs_address,
        'versions': versions(),
        'nodes': [_about(node) | _answer(ray, promise) for promise, node in asked.items()],
      }
  except connection.NoClusterError:
    return {'address': None}
  except UserError as error:
    return {'refusal': str(error)}


def look(file: str) -> dict[str, Any]:
  """Returns the versions of the node that this runs on, and what is in the file, or why the node does not see it."""
  try:
    return {'versions': versions(), 'word': pathlib.Path(file).read_text()}
  except (OSError, ValueError) as error:
    return {'versions': versions(), 'word': None, 'blind': getattr(error, 'strerror', None) or line_of(error)}


def _ask(ray: Any, node: str, file: str) -> Any:
  """Asks one node; that needs none of its CPUs, which may all be at work."""
  there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id=node, soft=False)
  return ray.remote(look).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(file)


def _about(node: dict[str, Any]) -> dict[str, Any]:
  has = node['Resources']
  return {
    'address': node['NodeManagerAddress'],
    'host': node['NodeManagerHostname'],
    'cpus': has.get('CPU', 0),
    'gpus': has.get('GPU', 0),
  }


def _answer(ray: Any, promise: Any) -> dict[str, Any]:
  try:
    return ray.get(promise, timeout=0)
  except ray.exceptions.GetTimeoutError:
    ray.cancel(promise, force=True)
    return {'problem': 'it did not answer in time'}
  except ray.exceptions.RayError as error:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return {'problem': lines[-1] if lines else type(error).__name__}
