# SPDX-License-Identifier: Apache-2.0
"""The work of a round on groups of clients, and the sum of what comes of it: a map and a reduction.

The sum has one shape, whoever adds: each group's clients one after another, and the groups in a binary tree over their
places. So it has the same bits in any number of threads and on any number of machines, each of which may add up a
subtree: the groups of an aligned block, from j 2^level to (j + 1) 2^level.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import tensorflow as tf

from fedprox_tff.core.graphs import Graph, SerializedGraph, call

T = TypeVar('T')


class GroupGraphs(NamedTuple):
  """What works on groups of clients, to be sent to wherever that is done."""

  work: SerializedGraph  # one client's data and the server's message -> what the client sends
  zero: SerializedGraph  # the sum of nothing
  accumulate: SerializedGraph  # a sum and what a client sends -> the sum
  merge: SerializedGraph  # two sums -> the sum
  kept: slice | None  # which of the results of `work` stay on the client


class GroupWork:
  """The graphs of `GroupGraphs` as functions.

  Attributes:
    work: One client's work.
    zero: The sum of nothing.
  """

  def __init__(self, graphs: GroupGraphs):
    self.work = Graph(graphs.work)
    self.zero = Graph(graphs.zero)([])
    self._accumulate, self._merge, self._kept = Graph(graphs.accumulate), Graph(graphs.merge), graphs.kept
    self._function = functools.cache(self._function_of)
    # Variables are set in each call, so such calls must not overlap.
    self.has_variables = self.work.has_variables or self._accumulate.has_variables
    self._guard = threading.Lock() if self.has_variables else contextlib.nullcontext()

  def run(self, clients: Sequence[Sequence[tf.Tensor]]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Returns the sum over several clients, and what they keep, stacked: in one call, which costs more than a step.

    Args:
      clients: What the graph of each client's work takes.
    """
    with self._guard:
      results = call(self._function(len(clients)), [tensor for feeds in clients for tensor in feeds])
    return results[: len(self.zero)], results[len(self.zero) :]

  def merge(self, left: Sequence[tf.Tensor], right: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the sum of two sums."""
    return self._merge([*left, *right])

  def _function_of(self, num_clients: int) -> tf.types.experimental.ConcreteFunction:
    size = len(self.work.specs)

    @tf.function(input_signature=self.work.specs * num_clients, autograph=False)
    def run_all(*tensors):
      results = [self.work(tensors[i * size : (i + 1) * size]) for i in range(num_clients)]
      total = self.zero
      for result in results:
        total = self._accumulate([*total, *result])
      kept = [] if self._kept is None else zip(*(result[self._kept] for result in results), strict=True)
      return [*total, *(tf.stack(leaves) for leaves in kept)]

    return run_all.get_concrete_function()


class TreeSum:
  """Adds up the sums of groups, or of aligned blocks of groups, in the order of their places."""

  def __init__(self, merge: Callable[[T, T], T]):
    """Begins with nothing.

    Args:
      merge: Adds two sums.
    """
    self._merge = merge
    self._subtrees: list[tuple[int, T]] = []  # their levels fall from the first to the last

  def add(self, subtree: T, level: int = 0) -> None:
    """Adds the next group, or the sum over the next 2^level groups; only the last block may have fewer."""
    while self._subtrees and self._subtrees[-1][0] == level:
      subtree = self._merge(self._subtrees.pop()[1], subtree)
      level += 1
    self._subtrees.append((level, subtree))

  def total(self, zero: T) -> T:
    """Returns the sum over all groups; `zero` if there was none."""
    if not self._subtrees:
      return zero
    *others, (_, total) = self._subtrees
    for _, subtree in reversed(others):
      total = self._merge(subtree, total)
    return total
