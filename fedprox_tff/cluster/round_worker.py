# SPDX-License-Identifier: Apache-2.0
"""A worker on some node of a cluster: it has loaded the federation, and does a round's work on groups of clients.

It gets graphs and loads data itself, so that it needs TensorFlow but nothing of TFF, whose import takes as long again.
"""

import hashlib
import os
import pathlib
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.cluster.loaded import Loaded
from fedprox_tff.cluster.place import Place
from fedprox_tff.cluster.versions import difference, versions
from fedprox_tff.core.errors import UserError
from fedprox_tff.core.map_reduce import GroupGraphs, GroupWork, TreeSum


class Machine(NamedTuple):
  """What a worker computes with."""

  device: str  # 'cpu' or 'gpu'
  threads: int  # TensorFlow's for one operation, on which the last bits of a network depend
  place: Place  # where the command was given


class Shared(NamedTuple):
  """Stands for one of the arrays that each worker has loaded."""

  place: int


class Block(NamedTuple):
  """Groups of clients to work on."""

  key: str  # of the graphs
  groups: Sequence[Sequence[Sequence[np.ndarray | Shared]]]  # for each group, of each client, what its work takes
  errands: Sequence[Sequence[Any]]  # the same, of what they keep; nothing where that is among what their work takes


class Done(NamedTuple):
  """What comes of a block."""

  sum: list[np.ndarray]
  kept: list[list[np.ndarray]]  # of each group what clients keep, stacked
  receipts: list[Any]  # of each client in their place, where there were errands


class RoundWorker:
  """A worker; Ray makes it an actor."""

  def __init__(self, machine: Machine):
    machine.place.enter()
    tf.config.threading.set_intra_op_parallelism_threads(machine.threads)
    if machine.device == 'cpu':
      tf.config.set_visible_devices([], 'GPU')
    for gpu in tf.config.get_visible_devices('GPU'):  # a fraction of one is a matter of trust between workers
      tf.config.experimental.set_memory_growth(gpu, True)
    self._device = '/GPU:0' if machine.device == 'gpu' else '/CPU:0'
    self._arrays: list[Any] = []  # that are shared
    self._initial: list[np.ndarray] = []  # the state of a client that has not taken part; shared behind the arrays
    self._works: dict[str, GroupWork] = {}

  def about(self) -> dict[str, Any]:
    """Returns where it is."""
    return {'node': socket.gethostname(), 'pid': os.getpid()}

  def check(self, needed: dict[str, str]) -> None:
    """Refuses to work with other versions of what decides about the bits of a result.

    Raises:
      UserError: If a version differs; it names the node.
    """
    if different := difference(versions(), needed):
      raise UserError(f'node {socket.gethostname()} {different}.')

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

  def take_initial_state(self, leaves: Sequence[np.ndarray]) -> None:
    """Takes the state of clients that have not taken part."""
    self._initial = [np.asarray(leaf) for leaf in leaves]

  def see(self, path: str, digest: str, reason: str) -> None:
    """Looks at a file.

    Raises:
      UserError: If it is not the one with this digest; it names the node, and gives the reason.
    """
    try:
      found = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    except OSError:
      found = ''
    if found != digest:
      raise UserError(f'node {socket.gethostname()} does not see {path}; {reason}')

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
    work, kept, receipts = self._works[block.key], [], []
    tree = TreeSum(work.merge)
    with tf.device(self._device):
      message = [tf.convert_to_tensor(array) for array in message]
      for number, group in enumerate(block.groups):
        errands = block.errands[number] if block.errands else [None] * len(group)
        clients = [self._tensors(client, errand) for client, errand in zip(group, errands, strict=True)]
        total, stacked = work.run([[*client, *message] for client in clients])
        tree.add(total)
        leaves = [leaf.numpy() for leaf in stacked]
        if block.errands:
          rows = [[leaf[row] for leaf in leaves] for row in range(len(group))]
          receipts += [errand.write(row, self._initial) for errand, row in zip(errands, rows, strict=True)]
        else:
          kept.append(leaves)
      return Done([leaf.numpy() for leaf in tree.total(work.zero)], kept, receipts)

  def _tensors(self, client: Sequence[np.ndarray | Shared], errand: Any) -> list[tf.Tensor]:
    """Returns what a client's work takes, with the state that an errand finds in the place of the initial one."""
    state, numbers = self._initial, None if errand is None else errand.read()
    if numbers is not None:
      pieces = np.split(numbers, np.cumsum([leaf.size for leaf in self._initial])[:-1])
      state = [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, self._initial, strict=True)]
    shared = [*self._arrays, *state]
    return [tf.convert_to_tensor(shared[each.place] if isinstance(each, Shared) else each) for each in client]
