# SPDX-License-Identifier: Apache-2.0
"""A worker on some node of a cluster: it has loaded the federation, and does a round's work on groups of clients.

It gets graphs and loads data itself, so that it needs TensorFlow but nothing of TFF, whose import takes as long again.
"""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.cluster.loaded import Loaded
from fedprox_tff.cluster.versions import versions
from fedprox_tff.core.errors import UserError
from fedprox_tff.core.map_reduce import GroupGraphs, GroupWork, TreeSum


class Machine(NamedTuple):
  """What a worker computes with."""

  device: str  # 'cpu' or 'gpu'
  threads: int  # TensorFlow's for one operation, on which the last bits of a network depend
  environment: dict[str, str]  # variables that have these values unless the node has others


class Shared(NamedTuple):
  """Stands for one of the arrays that each worker has loaded."""

  place: int


class Block(NamedTuple):
  """Groups of clients to work on."""

  key: str  # of the graphs
  groups: Sequence[Sequence[Sequence[np.ndarray | Shared]]]  # for each group, of each client, what its work takes


class Done(NamedTuple):
  """What comes of a block."""

  sum: list[np.ndarray]
  kept: list[list[np.ndarray]]  # of each group what clients keep, stacked


class RoundWorker:
  """A worker; Ray makes it an actor."""

  def __init__(self, machine: Machine):
    for name, value in machine.environment.items():
      os.environ.setdefault(name, value)
    tf.config.threading.set_intra_op_parallelism_threads(machine.threads)
    if machine.device == 'cpu':
      tf.config.set_visible_devices([], 'GPU')
    for gpu in tf.config.get_visible_devices('GPU'):  # a fraction of one is a matter of trust between workers
      tf.config.experimental.set_memory_growth(gpu, True)
    self._device = '/GPU:0' if machine.device == 'gpu' else '/CPU:0'
    self._arrays: list[Any] = []
    self._works: dict[str, GroupWork] = {}

  def about(self) -> dict[str, Any]:
    """Returns where it is, and the versions of what decides about bits."""
    return {'node': socket.gethostname(), 'pid': os.getpid(), 'versions': versions()}

  def load(self, load: Callable[[], Loaded], fingerprint: str) -> None:
    """Loads the federation from this node's files.

    Raises:
      UserError: If it is not the one with this fingerprint; it names the node.
    """
    loaded = load()
    if loaded.fingerprint != fingerprint:
      raise UserError(f'node {socket.gethostname()} has other data ({loaded.source}); all nodes need the same files.')
    with tf.device(self._device):
      self._arrays = [tf.convert_to_tensor(array) for array in loaded.arrays]

  def learn(self, key: str, graphs: GroupGraphs) -> None:
    """Takes the graphs of a round's work."""
    with tf.device(self._device):
      self._works[key] = GroupWork(graphs)

  def work(self, message: Sequence[np.ndarray], block: Block) -> Done:
    """Works on the groups of a block.

    Args:
      message: The server's.
      block: The groups.
    """
    work, kept = self._works[block.key], []
    tree = TreeSum(work.merge)
    with tf.device(self._device):
      message = [tf.convert_to_tensor(array) for array in message]
      for group in block.groups:
        total, stacked = work.run([[*map(self._tensor, client), *message] for client in group])
        tree.add(total)
        kept.append([leaf.numpy() for leaf in stacked])
      return Done([leaf.numpy() for leaf in tree.total(work.zero)], kept)

  def _tensor(self, value: np.ndarray | Shared) -> Any:
    return self._arrays[value.place] if isinstance(value, Shared) else tf.convert_to_tensor(value)
