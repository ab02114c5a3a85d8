# SPDX-License-Identifier: Apache-2.0
"""TFF computations in this process, on TensorFlow's own CPU and GPU runtime.

TFF ships one runtime, a C++ worker behind gRPC that has neither XLA nor GPU kernels and receives every client's data
again in each round. It also defines `tff.backends.mapreduce.MapReduceForm`, for platforms that "only run TensorFlow":
a round as TensorFlow graphs that prepare the broadcast, do one client's work, accumulate, and update the server. The
context here compiles a computation once to that form and runs the graphs as TensorFlow functions: clients on a few
threads, the largest first, and their results accumulated in the order of the argument, so that the sum has the same
bits however the threads ran.
"""

import concurrent.futures
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.graphs import Graph, flatten, unflatten

# Grappler would inline the compiled local loop into the client's graph, and XLA with it.
_NO_GRAPPLER = tf.compat.v1.ConfigProto()
_NO_GRAPPLER.graph_options.rewrite_options.disable_meta_optimizer = True


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
    self._zero, self._accumulate, self._report = Graph(form.zero), Graph(form.accumulate), Graph(form.report)
    self._update = Graph(form.update)

  def __call__(self, arg: Any) -> Any:
    state, clients = arg
    state = flatten(state, self._state_type)
    message = self._prepare(state)
    total = self._zero([])
    for result in self._run_clients(clients, message):
      total = self._accumulate([*total, *result])
    return unflatten(self._update([*state, *self._report(total)]), self._result_type)

  def _run_clients(self, clients: Sequence[Any], message: list[tf.Tensor]) -> Iterator[list[tf.Tensor]]:
    """Yields the clients' results in the order of `clients`; the largest start first, so that no core idles."""
    largest_first = sorted(range(len(clients)), key=lambda k: -_num_bytes(clients[k]))
    futures = {k: self._pool.submit(self._run_client, clients[k], message) for k in largest_first}
    return (futures[k].result() for k in range(len(clients)))

  def _run_client(self, data: Any, message: list[tf.Tensor]) -> list[tf.Tensor]:
    return self._work([*flatten(data, self._data_type), *message])


def _num_bytes(data: Any) -> int:
  """Returns the size of a client's arrays; data sets, whose size is not known, count nothing."""
  return sum(getattr(leaf, 'nbytes', 0) for leaf in tf.nest.flatten(data))
