# SPDX-License-Identifier: Apache-2.0
"""TFF computations on an engine that maps and reduces.

TFF defines `tff.backends.mapreduce.MapReduceForm` for platforms that "only run TensorFlow": a round as graphs that
prepare the broadcast, do one client's work, accumulate, merge, and update the server. The context here compiles a
computation once to that form. What is the server's runs in this process. What is the clients' is handed to an `Engine`:
threads of this process, or workers on many machines.

Clients go in groups, small ones a few in a group, those with most work first, so that nobody idles at the end. Their
results are added in a tree over the groups (`core.map_reduce`), so that the sum has the same bits on every engine.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.core.graphs import Graph
from fedprox_tff.core.map_reduce import GroupGraphs, GroupWork, TreeSum
from fedprox_tff.federated.runtimes.client_values import (
  keep_on_server,
  kept_leaves,
  returns_client_values,
  split_result,
)
from fedprox_tff.federated.runtimes.values import flatten, leaf_types, pack, serialized, tensors_of, unflatten

# Grappler would inline the compiled local loop into the client's graph, and XLA with it.
_NO_GRAPPLER = tf.compat.v1.ConfigProto()
_NO_GRAPPLER.graph_options.rewrite_options.disable_meta_optimizer = True

LARGEST_GROUP = 8  # clients in a call
_LARGEST_RESULT = 2**20  # bytes of one client's, above which clients go alone: their work takes longer than a call


def largest_group(num_bytes: int) -> int:
  """Returns how many clients go in one call at most, if the result of one has so many bytes."""
  return 1 if num_bytes > _LARGEST_RESULT else LARGEST_GROUP


class UnsupportedComputationError(TypeError):
  """A computation that has no MapReduceForm, such as one with two rounds of communication."""


class BlockSum(NamedTuple):
  """What comes of one group, or of an aligned block of 2^level groups."""

  level: int
  sum: list[tf.Tensor]
  kept: Sequence[tuple[Sequence[int], Sequence[np.ndarray]]]  # the clients of each group, and what they keep, stacked
  receipts: Mapping[int, Any] = MappingProxyType({})  # of errands, by client


class Errands(Protocol):
  """What clients keep where workers on other nodes read and write it themselves."""

  def of(self, client: int) -> Any:
    """Returns what is sent to the worker: its `read` returns the numbers that the client has kept, if any, and its
    `write` keeps others and returns a receipt; see `training.state_files.Errand`."""

  def done(self, client: int, receipt: Any) -> None:
    """Takes the receipt."""


class Assignment(NamedTuple):
  """What is to be done in a round."""

  groups: Sequence[Sequence[int]]  # of clients
  data_of: Callable[[int], list[tf.Tensor]]  # what the graph of a client's work takes
  message: list[tf.Tensor]  # what it takes behind that: the server's
  errands: Errands | None = None


BlockSums = Callable[[Assignment], Iterator[BlockSum]]  # the blocks in their order


class Engine(Protocol):
  """Who does the work on clients."""

  def load(self, graphs: GroupGraphs, work: GroupWork) -> BlockSums:
    """Returns what runs the work of a round; `work` has the same graphs as functions of this process."""

  def close(self) -> None:
    """Ends it, after the clients that are at work."""


class MapReduceContext(tff.framework.SyncContext):
  """Runs TFF computations on an engine.

  It runs TensorFlow computations, `initialize` of iterative processes, and `next` of those that broadcast once, work on
  the clients and aggregate once, as all of `tff.learning` does; a third result of `next` may stay on the clients.
  """

  def __init__(self, engine: Engine):
    """Makes a context on an engine, which is its own from now on."""
    self._engine = engine
    self._programs: dict[int, tuple[tff.Computation, Any]] = {}  # by id, since TFF hashes the whole graph
    self._compiling = threading.Lock()

  def invoke(self, comp: tff.Computation, arg: Any) -> Any:
    """Runs `comp`; TFF calls this for `comp(...)` while the context is installed."""
    return self._program(comp)(arg)

  def run_round(
    self,
    comp: tff.Computation,
    state: Any,
    clients: Sequence[Mapping[str, Any]],
    read: Callable[[int], Any],
    keep: Callable[[int, Any], None],
    *,
    errands: Errands | None = None,
  ) -> tuple[Any, Any]:
    """Runs a round whose clients keep something, one group of clients after another.

    Args:
      comp: The round, of three results of which the last stays on the clients.
      state: The server's state.
      clients: What each client has, without its `state`.
      read: Returns a client's `state` by its place in `clients`; called in any thread when the client is about to work.
      keep: Is handed a client's third result as soon as it has worked.
      errands: With workers on other nodes: takes the place of `keep`, and `read` returns the initial state.

    Returns:
      The two results on the server.
    """
    return self._program(comp).run(state, clients, keep, read, errands)

  def _program(self, comp: tff.Computation) -> Any:
    with self._compiling:
      if id(comp) not in self._programs:
        self._programs[id(comp)] = (comp, _compile(comp, self._engine))
      return self._programs[id(comp)][1]

  def close(self) -> None:
    """Ends the engine."""
    self._engine.close()


def _compile(comp: tff.Computation, engine: Engine):
  """Returns a function that runs `comp` on its packed argument."""
  if not tff.types.contains(comp.type_signature, lambda t: isinstance(t, tff.FederatedType)):
    return _Local(comp)
  try:
    if comp.type_signature.parameter is None:
      form = tff.backends.mapreduce.get_state_initialization_computation(comp, _NO_GRAPPLER)
      return _Local(form, result_type=comp.type_signature.result.member)
    round_comp = keep_on_server(comp) if returns_client_values(comp) else comp
    form = tff.backends.mapreduce.get_map_reduce_form_for_computation(round_comp, _NO_GRAPPLER)
  except Exception as error:  # TFF raises many kinds here; all mean that the form does not fit
    raise UnsupportedComputationError(
      f'This runtime cannot run a computation of type {comp.type_signature.compact_representation()}; '
      f'--runtime=worker can. ({str(error).splitlines()[0]})'
    ) from error
  if form.securely_aggregates_tensors:
    raise UnsupportedComputationError('This runtime has no secure aggregation; --runtime=worker has.')
  return _Round(comp, round_comp, form, engine)


class _Local:
  """A computation without placements: one graph."""

  def __init__(self, comp: tff.Computation, result_type: tff.Type | None = None):
    if tff.framework.serialize_computation(comp).WhichOneof('computation') != 'tensorflow':
      raise UnsupportedComputationError(
        f'This runtime runs TensorFlow computations and rounds, not {comp.type_signature}; --runtime=worker can.'
      )
    self._graph = Graph(serialized(comp))
    self._parameter_type = comp.type_signature.parameter
    self._result_type = result_type or comp.type_signature.result

  def __call__(self, arg: Any) -> Any:
    feeds = [] if self._parameter_type is None else flatten(arg, self._parameter_type)
    return unflatten(self._graph(tensors_of(self._graph, feeds)), self._result_type)


class _Round:
  """One round: (state@SERVER, data@CLIENTS) -> (state@SERVER, output@SERVER), and perhaps a value@CLIENTS."""

  def __init__(self, comp: tff.Computation, round_comp: tff.Computation, form: Any, engine: Engine):
    self._state_type = comp.type_signature.parameter[0].member
    self._data_type = comp.type_signature.parameter[1].member
    self._result_type, self._server_result_type = comp.type_signature.result, round_comp.type_signature.result
    kept = kept_leaves(form) if round_comp is not comp else None
    graphs = GroupGraphs(*map(serialized, (form.work, form.zero, form.accumulate, form.merge)), kept)
    self._keeps, self._work = kept is not None, GroupWork(graphs)
    largest = largest_group(_num_bytes_of_type(form.work.type_signature.result))
    self._group_size = 1 if self._work.has_variables else largest
    self._block_sums = engine.load(graphs, self._work)
    self._prepare, self._report, self._update = (
      Graph(serialized(part)) for part in (form.prepare, form.report, form.update)
    )

  def __call__(self, arg: Any) -> Any:
    state, clients = arg
    if not self._keeps:
      return self.run(state, clients)
    kept = [None] * len(clients)
    results = self.run(state, clients, kept.__setitem__)
    return pack([*results, kept], self._result_type)

  def run(
    self,
    state: Any,
    clients: Sequence[Any],
    keep: Callable[[int, Any], None] | None = None,
    read: Callable[[int], Any] | None = None,
    errands: Errands | None = None,
  ) -> Any:
    """Returns the results on the server; the functions are those of `MapReduceContext.run_round`."""
    state = flatten(state, self._state_type)
    message = self._prepare(tensors_of(self._prepare, state))

    def data_of(place: int) -> list[tf.Tensor]:
      client = clients[place] if read is None else {**clients[place], 'state': [read(place)]}
      return tensors_of(self._work.work, flatten(client, self._data_type))

    tree = TreeSum(self._work.merge)
    for block in self._block_sums(Assignment(list(_groups(clients, self._group_size)), data_of, message, errands)):
      tree.add(block.sum, block.level)
      for place, receipt in block.receipts.items():
        errands.done(place, receipt)
      for group, stacked in block.kept:
        for row, place in enumerate(group):
          keep(place, unflatten([leaf[row] for leaf in stacked], self._result_type[2]))
    reported = self._report(tree.total(self._work.zero))
    result = unflatten(self._update([*state, *reported]), self._server_result_type)
    return split_result(result) if self._keeps else result


def _groups(clients: Sequence[Any], largest: int) -> Iterator[list[int]]:
  """Yields groups of the clients' places, those with the most data first.

  A client with much of the cohort's data goes alone, the others in groups of the size `largest`, and the rest alone:
  each size of a group has to be compiled.
  """
  sizes = [_num_bytes(client) for client in clients]
  order = sorted(range(len(clients)), key=lambda k: -sizes[k])
  while order:
    is_large = sizes[order[0]] * largest > sum(sizes)
    count = 1 if is_large or len(order) < largest else largest
    yield order[:count]
    order = order[count:]


def _num_bytes_of_type(type_spec: tff.Type) -> int:
  """Returns the size of a value of a type of tensors, as far as their shapes are known."""
  tensors = [leaf for leaf in leaf_types(type_spec) if isinstance(leaf, tff.TensorType)]
  return sum(math.prod(length or 0 for length in leaf.shape or ()) * leaf.dtype.itemsize for leaf in tensors)


def _num_bytes(data: Any) -> int:
  """Returns the size of what is a client's own: arrays, but neither tensors, which clients share, nor data sets."""
  return sum(leaf.nbytes for leaf in tf.nest.flatten(data) if isinstance(leaf, np.ndarray))
