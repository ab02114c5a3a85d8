# SPDX-License-Identifier: Apache-2.0
"""How fast Ray's object store is on one machine: what a byte costs to put, and to have from another node."""

import statistics
import time
from typing import Any

import numpy as np

_TURNS = 7


def noise(num_bytes: int, seed: int) -> np.ndarray:
  """Returns an array of bytes; a node of the cluster makes it."""
  return np.random.default_rng(seed).integers(0, 256, num_bytes, np.uint8)


def put_and_pull(ray: Any, num_bytes: int) -> tuple[float, float]:
  """Returns how many seconds an object of so many bytes takes: into the store, and from another node's store to here.

  The other node is on this machine, so that no network is in the way.
  """
  here = ray.get_runtime_context().get_node_id()
  other = next(node['NodeID'] for node in ray.nodes() if node['Alive'] and node['NodeID'] != here)
  there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(other, soft=False)
  make = ray.remote(noise).options(num_cpus=0, scheduling_strategy=there)
  puts, pulls = [], []
  for turn in range(_TURNS + 1):
    array = noise(num_bytes, turn)
    start = time.perf_counter()
    mine = ray.put(array)
    puts.append(time.perf_counter() - start)
    theirs = make.remote(num_bytes, turn)
    ray.wait([theirs], fetch_local=False)
    start = time.perf_counter()
    ray.get(theirs)
    pulls.append(time.perf_counter() - start)
    del mine, theirs  # their places in the store are free again
  return statistics.median(puts[1:]), statistics.median(pulls[1:])  # the first ones open a connection
