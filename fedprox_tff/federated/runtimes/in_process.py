# SPDX-License-Identifier: Apache-2.0
"""TFF computations in this process, on TensorFlow's own CPU and GPU runtime.

TFF ships one runtime, a C++ worker behind gRPC that has neither XLA nor GPU kernels and receives every client's data
again in each round. It also defines `tff.backends.mapreduce.MapReduceForm`, for platforms that "only run TensorFlow":
a round as TensorFlow graphs that prepare the broadcast, do one client's work, accumulate, and update the server. The
context here compiles a computation once to that form and runs the graphs as TensorFlow functions: clients on a few
threads, small ones a few in a call, those with most work first, so that no core idles at the end. Their results are
accumulated in that same order: the sum has the same bits however the threads ran, and no more than a few results are
held.
"""

import collections
import concurrent.futures
import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.runtimes.client_values import (
  keep_on_server,
  kept_leaves,
  returns_client_values,
  split_result,
)
from fedprox_tff.federated.runtimes.graphs import Graph, call, flatten, leaf_types, pack, unflatten
from fedprox_tff.machine.resources import usable_cores

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


class InProcessContext(tff.framework.SyncContext):
  """Runs TFF computations in this process.

  It runs TensorFlow computations, `initialize` of iterative processes, and `next` of those that broadcast once, work on
  the clients and aggregate once, as all of `tff.learning` does; a third result of `next` may stay on the clients.
  """

  def __init__(self, *, num_threads: int | None = None, device: str = '/CPU:0'):
    """Makes a context.

    Args:
      num_threads: How many clients work at a time. None: one for each core.
      device: TensorFlow's name of the device that clients compute on.
    """
    threads = num_threads or usable_cores()
    self._pool = concurrent.futures.ThreadPoolExecutor(threads, initializer=_enter, initargs=(device,))
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
  ) -> tuple[Any, Any]:
    """Runs a round whose clients keep something, one group of clients after another.

    Args:
      comp: The round, of three results of which the last stays on the clients.
      state: The server's state.
      clients: What each client has, without its `state`.
      read: Returns a client's `state` by its place in `clients`; called in any thread when the client is about to work.
      keep: Is handed a client's third result as soon as it has worked.

    Returns:
      The two results on the server.
    """
    return self._program(comp).run(state, clients, keep, read)

  def _program(self, comp: tff.Computation) -> Any:
    with self._compiling:
      if id(comp) not in self._programs:
        self._programs[id(comp)] = (comp, _compile(comp, self._pool))
      return self._programs[id(comp)][1]

  def close(self) -> None:
    """Ends the threads, after the clients that are at work."""
    self._pool.shutdown(cancel_futures=True)


def _compile(comp: tff.Computation, pool: concurrent.futures.Executor):
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
      f'The in-process runtime cannot run a computation of type {comp.type_signature.compact_representation()}; '
      f'--runtime=worker can. ({str(error).splitlines()[0]})'
    ) from error
  if form.securely_aggregates_tensors:
    raise UnsupportedComputationError('The in-process runtime has no secure aggregation; --runtime=worker has.')
  return _Round(comp, round_comp, form, pool)


def _enter(device: str) -> None:
  """Places what this thread computes from now on: TensorFlow's device scopes belong to threads."""
  tf.device(device).__enter__()


class _Local:
  """A computation without placements: one graph."""

  def __init__(self, comp: tff.Computation, result_type: tff.Type | None = None):
    if tff.framework.serialize_computation(comp).WhichOneof('computation') != 'tensorflow':
      raise UnsupportedComputationError(
        f'The in-process runtime runs TensorFlow computations and rounds, not {comp.type_signature}; '
        '--runtime=worker can.'
      )
    self._graph = Graph(comp)
    self._parameter_type = comp.type_signature.parameter
    self._result_type = result_type or comp.type_signature.result

  def __call__(self, arg: Any) -> Any:
    feeds = [] if self._parameter_type is None else flatten(arg, self._parameter_type)
    return unflatten(self._graph(feeds), self._result_type)


class _Round:
  """One round: (state@SERVER, data@CLIENTS) -> (state@SERVER, output@SERVER), and perhaps a value@CLIENTS."""

  def __init__(self, comp: tff.Computation, round_comp: tff.Computation, form: Any, pool: concurrent.futures.Executor):
    self._state_type = comp.type_signature.parameter[0].member
    self._data_type = comp.type_signature.parameter[1].member
    self._result_type, self._server_result_type = comp.type_signature.result, round_comp.type_signature.result
    self._kept = kept_leaves(form) if round_comp is not comp else None
    self._pool, self._max_waiting = pool, 2 * pool._max_workers
    self._prepare, self._work = Graph(form.prepare), Graph(form.work)
    largest = largest_group(_num_bytes_of_type(form.work.type_signature.result))
    self._group_size = 1 if self._work.has_variables else largest
    self._work_of = functools.cache(self._work.repeated)
    self._zero = Graph(form.zero)([])
    self._accumulate = _accumulate_all(Graph(form.accumulate), len(self._zero))
    self._report, self._update = Graph(form.report), Graph(form.update)

  def __call__(self, arg: Any) -> Any:
    state, clients = arg
    if self._kept is None:
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
  ) -> Any:
    """Returns the results on the server; `keep` and `read` are those of `InProcessContext.run_round`."""
    state = flatten(state, self._state_type)
    message = self._prepare(state)
    total = self._zero
    for group, results in self._run_clients(clients, message, read):
      total = self._accumulate(total, results)
      if self._kept is not None:
        stacked = [leaf.numpy() for leaf in results[self._kept]]
        for place, client in enumerate(group):
          keep(client, unflatten([leaf[place] for leaf in stacked], self._result_type[2]))
    result = unflatten(self._update([*state, *self._report(total)]), self._server_result_type)
    return result if self._kept is None else split_result(result)

  def _run_clients(
    self, clients: Sequence[Any], message: list[tf.Tensor], read: Callable[[int], Any] | None
  ) -> Iterator[tuple[list[int], list[tf.Tensor]]]:
    """Yields groups of clients and their results, stacked, those of the largest clients first."""
    waiting = collections.deque()
    for group in _groups(clients, self._group_size):
      waiting.append((group, self._pool.submit(self._run_group, clients, group, message, read)))
      if len(waiting) > self._max_waiting:
        yield _result(*waiting.popleft())
    while waiting:
      yield _result(*waiting.popleft())

  def _run_group(
    self, clients: Sequence[Any], group: list[int], message: list[tf.Tensor], read: Callable[[int], Any] | None
  ) -> list[tf.Tensor]:
    """Returns the results of several clients, stacked: in one call, since a call costs more than a step."""
    data = [clients[k] if read is None else {**clients[k], 'state': [read(k)]} for k in group]
    feeds = [[*flatten(each, self._data_type), *message] for each in data]
    with self._work.guard:
      return call(self._work_of(len(feeds)), [tensor for feed in feeds for tensor in self._work.tensors(feed)])


def _result(group: list[int], results: concurrent.futures.Future) -> tuple[list[int], list[tf.Tensor]]:
  return group, results.result()


def _accumulate_all(accumulate: Graph, num_total: int) -> Callable[[list[tf.Tensor], list[tf.Tensor]], list[tf.Tensor]]:
  """Returns a function that adds several clients' results, stacked leaf by leaf, to the total in one call."""

  specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in accumulate.specs]
  total_specs, result_specs = specs[:num_total], specs[num_total:]

  @tf.function(input_signature=[*total_specs, *(tf.TensorSpec([None, *s.shape], s.dtype) for s in result_specs)])
  def accumulate_all(*total_and_results):
    total, results = total_and_results[:num_total], total_and_results[num_total:]

    def add(k, total):
      return k + 1, accumulate([*total, *(leaf[k] for leaf in results)])

    return tf.while_loop(lambda k, _: k < tf.shape(results[0])[0], add, (tf.constant(0), list(total)))[1]

  function = accumulate_all.get_concrete_function()
  return lambda total, results: call(function, [*total, *results])


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
