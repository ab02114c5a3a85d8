# SPDX-License-Identifier: Apache-2.0
"""TFF computations in this process, on TensorFlow's own CPU and GPU runtime.

TFF ships one runtime, a C++ worker behind gRPC that has neither XLA nor GPU kernels and receives every client's data
again in each round. It also defines `tff.backends.mapreduce.MapReduceForm`, for platforms that "only run TensorFlow":
a round as TensorFlow graphs that prepare the broadcast, do one client's work, accumulate, and update the server. The
context here compiles a computation once to that form and runs the graphs as TensorFlow functions: clients on a few
threads, the one with most data first, so that no core idles at the end. Their results are accumulated in that same
order, a few at a time: the sum has the same bits however the threads ran, and no more than a few results are held.
"""

import collections
import concurrent.futures
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.graphs import Graph, call, flatten, unflatten

# Grappler would inline the compiled local loop into the client's graph, and XLA with it.
_NO_GRAPPLER = tf.compat.v1.ConfigProto()
_NO_GRAPPLER.graph_options.rewrite_options.disable_meta_optimizer = True

_RESULTS_AT_A_TIME = 16  # of clients; 106 MB for a convolutional network of 1.6 million parameters


class UnsupportedComputationError(TypeError):
  """A computation that has no MapReduceForm, such as one with two rounds of communication."""


class InProcessContext(tff.framework.SyncContext):
  """Runs TFF computations in this process.

  It runs TensorFlow computations, `initialize` of iterative processes, and `next` of those that broadcast once, work on
  the clients and aggregate once, as all of `tff.learning` does.
  """

  def __init__(self, *, num_threads: int | None = None):
    """Makes a context.

    Args:
      num_threads: How many clients work at a time. None: one for each core.
    """
    self._pool = concurrent.futures.ThreadPoolExecutor(num_threads or len(os.sched_getaffinity(0)))
    self._programs: dict[int, tuple[tff.Computation, Any]] = {}  # by id, since TFF hashes the whole graph
    self._compiling = threading.Lock()

  def invoke(self, comp: tff.Computation, arg: Any) -> Any:
    """Runs `comp`; TFF calls this for `comp(...)` while the context is installed."""
    with self._compiling:
      if id(comp) not in self._programs:
        self._programs[id(comp)] = (comp, _compile(comp, self._pool))
      _, program = self._programs[id(comp)]
    return program(arg)

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
    form = tff.backends.mapreduce.get_map_reduce_form_for_computation(comp, _NO_GRAPPLER)
  except Exception as error:  # TFF raises many kinds here; all mean that the form does not fit
    raise UnsupportedComputationError(
      f'The in-process runtime cannot run a computation of type {comp.type_signature.compact_representation()}; '
      f'--runtime=worker can. ({str(error).splitlines()[0]})'
    ) from error
  if form.securely_aggregates_tensors:
    raise UnsupportedComputationError('The in-process runtime has no secure aggregation; --runtime=worker has.')
  return _Round(comp, form, pool)


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
  """One round: (state@SERVER, data@CLIENTS) -> (state@SERVER, output@SERVER)."""

  def __init__(self, comp: tff.Computation, form: Any, pool: concurrent.futures.Executor):
    self._state_type = comp.type_signature.parameter[0].member
    self._data_type = comp.type_signature.parameter[1].member
    self._result_type = comp.type_signature.result
    self._pool = pool
    self._prepare, self._work = Graph(form.prepare), Graph(form.work)
    self._zero = Graph(form.zero)([])
    self._accumulate = _accumulate_all(Graph(form.accumulate), len(self._zero))
    self._report, self._update = Graph(form.report), Graph(form.update)

  def __call__(self, arg: Any) -> Any:
    state, clients = arg
    state = flatten(state, self._state_type)
    message = self._prepare(state)
    total = self._zero
    for results in _batches(self._run_clients(clients, message), _RESULTS_AT_A_TIME):
      total = self._accumulate(total, [tf.stack(leaves) for leaves in zip(*results, strict=True)])
    return unflatten(self._update([*state, *self._report(total)]), self._result_type)

  def _run_clients(self, clients: Sequence[Any], message: list[tf.Tensor]) -> Iterator[list[tf.Tensor]]:
    """Yields the clients' results, those of the largest clients first."""
    waiting = collections.deque()
    for client in sorted(clients, key=_num_bytes, reverse=True):
      waiting.append(self._pool.submit(self._run_client, client, message))
      if len(waiting) > _RESULTS_AT_A_TIME:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()

  def _run_client(self, data: Any, message: list[tf.Tensor]) -> list[tf.Tensor]:
    return self._work([*flatten(data, self._data_type), *message])


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


def _batches(results: Iterator[Any], size: int) -> Iterator[list[Any]]:
  while batch := list(itertools.islice(results, size)):
    yield batch


def _num_bytes(data: Any) -> int:
  """Returns the size of what is a client's own: arrays, but neither tensors, which clients share, nor data sets."""
  return sum(leaf.nbytes for leaf in tf.nest.flatten(data) if isinstance(leaf, np.ndarray))
