# SPDX-License-Identifier: Apache-2.0
"""TFF computations with clients on a Ray cluster: TFF has no runtime for more than one machine any more.

The server's part runs in this process. Workers on the cluster get the graphs of the clients' part once, load the data
themselves, and in each round get the server's message, the groups of clients to work on, and what these have kept. They
return one sum for a block of groups. Blocks are subtrees of the one tree in which all runtimes add (`core.map_reduce`),
so that the result has the bits of `InProcessContext`, however many workers there are and whichever of them die.
"""

import contextlib
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.cluster import connection, place
from fedprox_tff.cluster.crew import Crew
from fedprox_tff.cluster.loaded import Loaded
from fedprox_tff.cluster.round_worker import Block, Done, Machine, RoundWorker, Shared
from fedprox_tff.cluster.versions import versions
from fedprox_tff.core import threads
from fedprox_tff.core.map_reduce import GroupGraphs, GroupWork
from fedprox_tff.federated.runtimes.context import Assignment, BlockSum, BlockSums

_BLOCKS_A_WORKER = 4  # in a round, if there are so many groups: a lost one costs little then
_ASSEMBLY_SECONDS = 30.0  # that the first worker waits for the others


class Cluster(NamedTuple):
  """What to ask of a Ray cluster."""

  address: str = connection.AUTO  # or 'local', or HOST:PORT
  workers: int | None = None  # None: as many as there is room for
  most_workers: int | None = None  # of these; more would have nothing to do
  gpus_per_worker: float | None = None  # with device 'gpu'; None: 1
  wait_seconds: float = 600.0  # for a worker where there is none


@contextlib.contextmanager
def on_ray(cluster: Cluster, *, device: str) -> Iterator['Workers']:
  """Joins a cluster and yields workers there, an engine for a context; all that was started ends with the block.

  Args:
    cluster: Which one, and how much of it.
    device: 'cpu' or 'gpu', where clients compute.

  Raises:
    UserError: If there is no such cluster.
  """
  with connection.joined(cluster.address, '--runtime=ray') as ray, workers_on(ray, cluster, device=device) as workers:
    yield workers


@contextlib.contextmanager
def workers_on(ray: Any, cluster: Cluster, *, device: str) -> Iterator['Workers']:
  """Asks a cluster that this process has joined for workers, and yields them.

  Args:
    ray: The module, joined to the cluster.
    cluster: How much of it.
    device: 'cpu' or 'gpu', where clients compute.
  """
  gpus = (1.0 if cluster.gpus_per_worker is None else cluster.gpus_per_worker) if device == 'gpu' else 0.0
  remote = ray.remote(RoundWorker).options(
    num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0, scheduling_strategy='SPREAD'
  )
  machine = Machine(device, threads.in_use(), place.here())
  room = _room(ray, gpus)
  size = cluster.workers or min(cluster.most_workers or room, room)
  needs = f'1 CPU and {gpus:g} GPU' if gpus else '1 CPU'
  crew = Crew(ray, lambda: remote.remote(machine), size=size, needs=needs, wait_seconds=cluster.wait_seconds)
  with crew:
    yield Workers(ray, crew)


def _room(ray: Any, gpus: float) -> int:
  """Returns how many workers fit on the cluster, at least one, for which the run waits then."""
  total = ray.cluster_resources()
  room = int(total.get('CPU', 0))
  if gpus:
    room = min(room, int(total.get('GPU', 0) / gpus))
  return max(1, room)


class Workers:
  """The engine: a crew of workers on a cluster, each of which works on one block of groups at a time."""

  def __init__(self, ray: Any, crew: Crew):
    self._ray, self._crew = ray, crew
    self._shared: dict[int, tuple[tf.Tensor, Shared]] = {}  # by id
    self._fingerprint: str | None = None
    self._is_rehearsing = False
    crew.teach('versions', 'check', versions())

  def share(
    self,
    tensors: Sequence[tf.Tensor],
    load: Callable[[], Loaded],
    fingerprint: str,
    initial_state: Sequence[tf.Tensor] = (),
  ) -> None:
    """Lets every worker have what clients have in common, so that it need not be sent with each client.

    Args:
      tensors: Their examples, as payloads have them.
      load: Loads the same on another node; it is sent there. A node on which it loads something else is refused.
      fingerprint: That of what it loads.
      initial_state: What a client keeps before it first takes part, which is sent once.
    """
    shared = [*tensors, *initial_state]
    self._shared = {id(tensor): (tensor, Shared(place)) for place, tensor in enumerate(shared)}
    if fingerprint != self._fingerprint:
      self._crew.teach('data', 'load', load, fingerprint)
      self._fingerprint = fingerprint
    self._crew.teach('initial state', 'take_initial_state', [tensor.numpy() for tensor in initial_state])

  def need_file(self, path: pathlib.Path, reason: str) -> None:
    """Refuses nodes that do not see a file of this one.

    Args:
      path: The file, which does not change any more.
      reason: What needs it, and what else to do, for the message.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    self._crew.teach('file', 'see', str(path.absolute()), digest, reason)

  @contextlib.contextmanager
  def rehearsal(self) -> Iterator[None]:
    """Lets each worker do all of what is done in the block."""
    self._is_rehearsing = True
    try:
      yield
    finally:
      self._is_rehearsing = False

  def begin(self, say: Callable[[str], None]) -> None:
    """Waits for a worker, and says which are there; what happens to them later is said in the same way.

    Raises:
      UserError: If a node has other versions, other data or another disk than this one.
      RunFailedError: If no worker comes.
    """
    self._crew.say = say
    self._crew.assemble(_ASSEMBLY_SECONDS)
    answers = self._crew.ask_all('about')
    nodes = sorted({answer['node'] for answer in answers})
    number = f'{len(answers)}' if len(answers) == self._crew.size else f'{len(answers)} of {self._crew.size}'
    say(f'ray: {number} worker{"s" if self._crew.size > 1 else ""} on {", ".join(nodes)}')
    if len(answers) < self._crew.size:
      say(f'ray: the others join when the cluster has room for them: each takes {self._crew.needs}')

  def load(self, graphs: GroupGraphs, work: GroupWork) -> BlockSums:
    """Sends the graphs of a round's work, and returns what runs it; see `context.Engine`."""
    del work
    key = _digest(graphs)
    self._crew.teach(f'graphs {key}', 'learn', key, graphs)
    if self._is_rehearsing:
      self._crew.assemble(_ASSEMBLY_SECONDS)  # or the first worker that has learned them would rehearse alone

    def block_sums(assignment: Assignment) -> Iterator[BlockSum]:
      message = self._ray.put([tensor.numpy() for tensor in assignment.message])
      level = level_of_blocks(len(assignment.groups), self._crew.size)
      blocks = [assignment.groups[start : start + 2**level] for start in range(0, len(assignment.groups), 2**level)]
      arguments = [functools.partial(self._arguments, key, assignment, message, block) for block in blocks]
      for block, done in zip(blocks, self._answers(arguments), strict=True):
        kept = [(group, leaves) for group, leaves in zip(block, done.kept, strict=False) if leaves]
        places = [place for group in block for place in group]
        receipts = dict(zip(places, done.receipts, strict=False))
        yield BlockSum(level, list(map(tf.convert_to_tensor, done.sum)), kept, receipts)

    return block_sums

  def close(self) -> None:
    """The crew ends with the block that has made it."""

  def _arguments(
    self, key: str, assignment: Assignment, message: Any, block: Sequence[Sequence[int]]
  ) -> tuple[Any, Block]:
    """Returns what a worker is told of a block: made when it is sent, so that few states are in memory at a time."""
    clients = [[self._values(assignment.data_of(place)) for place in group] for group in block]
    errands = (
      [] if assignment.errands is None else [[assignment.errands.of(place) for place in group] for group in block]
    )
    return message, Block(key, clients, errands)

  def _answers(self, arguments: Sequence[Callable[[], tuple[Any, ...]]]) -> Iterator[Done]:
    if self._is_rehearsing:
      return (self._crew.ask_all('work', *each())[0] for each in arguments)
    return self._crew.map('work', arguments)

  def _values(self, tensors: Sequence[tf.Tensor]) -> list[np.ndarray | Shared]:
    """Returns what is sent of a client's data."""
    return [self._shared[id(tensor)][1] if id(tensor) in self._shared else tensor.numpy() for tensor in tensors]


def level_of_blocks(num_groups: int, num_workers: int) -> int:
  """Returns how many groups are in a block, as a power of two."""
  level = 0
  while num_groups >= _BLOCKS_A_WORKER * num_workers * 2 ** (level + 1):
    level += 1
  return level


def _digest(graphs: GroupGraphs) -> str:
  return hashlib.sha256(repr(graphs).encode()).hexdigest()
