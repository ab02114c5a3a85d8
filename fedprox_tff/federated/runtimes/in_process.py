# SPDX-License-Identifier: Apache-2.0
"""TFF computations in this process, on TensorFlow's own CPU and GPU runtime.

TFF ships one runtime, a C++ worker behind gRPC that has neither XLA nor GPU kernels and receives every client's data
again in each round. Here clients work on a few threads of this process, and share what lies in its memory.
"""

import collections
import concurrent.futures
from collections.abc import Iterator, Sequence

import tensorflow as tf

from fedprox_tff.core.map_reduce import GroupGraphs, GroupWork
from fedprox_tff.federated.runtimes.context import Assignment, BlockSum, BlockSums, MapReduceContext
from fedprox_tff.machine.resources import usable_cores


class InProcessContext(MapReduceContext):
  """Runs TFF computations in this process; see `MapReduceContext` for which."""

  def __init__(self, *, num_threads: int | None = None, device: str = '/CPU:0'):
    """Makes a context.

    Args:
      num_threads: How many clients work at a time. None: one for each core.
      device: TensorFlow's name of the device that clients compute on.
    """
    super().__init__(_Threads(num_threads or usable_cores(), device))


class _Threads:
  """The engine: threads, each of which works on one group of clients at a time."""

  def __init__(self, num_threads: int, device: str):
    self._pool = concurrent.futures.ThreadPoolExecutor(num_threads, initializer=_enter, initargs=(device,))
    self._max_waiting = 2 * num_threads

  def load(self, graphs: GroupGraphs, work: GroupWork) -> BlockSums:
    del graphs

    def run(group: Sequence[int], assignment: Assignment) -> BlockSum:
      total, kept = work.run([[*assignment.data_of(place), *assignment.message] for place in group])
      return BlockSum(0, total, [(group, [leaf.numpy() for leaf in kept])] if kept else [])

    def block_sums(assignment: Assignment) -> Iterator[BlockSum]:
      waiting = collections.deque()
      for group in assignment.groups:
        waiting.append(self._pool.submit(run, group, assignment))
        if len(waiting) > self._max_waiting:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()

    return block_sums

  def close(self) -> None:
    self._pool.shutdown(cancel_futures=True)


def _enter(device: str) -> None:
  """Places what this thread computes from now on: TensorFlow's device scopes belong to threads."""
  tf.device(device).__enter__()
