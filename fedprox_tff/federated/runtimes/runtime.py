# SPDX-License-Identifier: Apache-2.0
"""The places where a TFF computation can run: this process, a cluster, or TFF's C++ worker beside this process."""

import collections
import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.cluster.loaded import Loaded
from fedprox_tff.core import threads
from fedprox_tff.core.errors import UserError
from fedprox_tff.federated.runtimes.context import Errands, MapReduceContext
from fedprox_tff.federated.runtimes.in_process import InProcessContext
from fedprox_tff.federated.runtimes.on_ray import Cluster, Workers, on_ray
from fedprox_tff.federated.runtimes.worker import run_worker

_DEVICES = {'cpu': '/CPU:0', 'gpu': '/GPU:0'}


class Runtime(NamedTuple):
  """The runtime in use."""

  name: str
  device: str  # TensorFlow's name of where this process computes, such as '/GPU:0'
  worker_memory_mb: Callable[[], float]  # resident memory of TFF's worker, 0 where there is none
  context: Any  # TFF's
  note: str = ''  # what a user should know, in one line
  workers: Workers | None = None  # on a cluster

  def begin(self, say: Callable[[str], None]) -> None:
    """Says what a user should know, and has later news said in the same way; waits for a cluster's workers.

    Raises:
      UserError: If a node of the cluster does not fit.
      RunFailedError: If no worker comes.
    """
    if self.note:
      say(self.note)
    if self.workers:
      self.workers.begin(say)

  @property
  def is_elsewhere(self) -> bool:
    """Whether clients work on other machines."""
    return self.workers is not None

  def share(
    self,
    tensors: Sequence[tf.Tensor],
    load: Callable[[], Loaded],
    fingerprint: str,
    initial_state: Sequence[tf.Tensor] = (),
  ) -> None:
    """Tells a runtime on other machines what all clients have in common; see `Workers.share`."""
    if self.workers:
      self.workers.share(tensors, load, fingerprint, initial_state)

  def need_file(self, path: pathlib.Path, reason: str) -> None:
    """Has other machines refused that do not see a file of this one; see `Workers.need_file`."""
    if self.workers:
      self.workers.need_file(path, reason)

  def rehearsal(self) -> contextlib.AbstractContextManager[None]:
    """Lets each worker of a cluster do all of what is done in the block, so that each has compiled it."""
    return self.workers.rehearsal() if self.workers else contextlib.nullcontext()

  def run_round(
    self,
    comp: tff.Computation,
    state: Any,
    payloads: Sequence[Mapping[str, Any]],
    read_state: Callable[[int], Any],
    keep_state: Callable[[int, Any], None],
    *,
    errands: Errands | None = None,
  ) -> Any:
    """Runs a round whose clients keep something, and returns what stays on the server, a `StatefulProcessOutput`.

    Args:
      comp: `next` of a `StatefulProcess`.
      state: The server's state.
      payloads: Clients' payloads without their states.
      read_state: Returns what the client at a place has kept.
      keep_state: Is told what the client at a place keeps now.
      errands: Where clients work on other machines: see `MapReduceContext.run_round`.
    """
    output = comp.type_signature.result.python_container
    if isinstance(self.context, MapReduceContext):
      results = self.context.run_round(comp, state, payloads, read_state, keep_state, errands=errands)
      return output(*results, client_states=None)
    given = [collections.OrderedDict(p, state=[read_state(place)]) for place, p in enumerate(payloads)]
    result = comp(state, given)
    for place, new in enumerate(result.client_states):
      keep_state(place, new)
    return result._replace(client_states=None)


@contextlib.contextmanager
def use(name: str = 'in_process', *, device: str = 'cpu', cluster: Cluster | None = None) -> Iterator[Runtime]:
  """Makes TFF computations that are called in the block run in the runtime `name`, and cleans up after it.

  Args:
    name: 'in_process', TensorFlow in this process with XLA and GPUs; 'ray', the same with clients on a Ray cluster; or
      'worker', TFF's C++ worker.
    device: 'cpu' or 'gpu', the first GPU that TensorFlow finds.
    cluster: Which one, with 'ray'; None: the one that this machine is a node of.

  Raises:
    UserError: If there is no such device, or no such cluster.
    RunFailedError: If the worker does not start.
  """
  threads.pin()
  _select_device(name, device)
  place = _DEVICES[device]
  if name == 'worker':
    with run_worker() as (context, worker), tff.framework.get_context_stack().install(context):
      yield Runtime(name, place, worker.memory_mb, context, worker.note)
  elif name == 'ray':
    # Workers have the GPUs; what is the server's, and the evaluation, is on one if this machine has one.
    place = _DEVICES[device] if tf.config.get_visible_devices('GPU') else '/CPU:0'
    with on_ray(cluster or Cluster(), device=device) as workers:
      context = MapReduceContext(workers)
      with tff.framework.get_context_stack().install(context), tf.device(place):
        yield Runtime(name, place, lambda: 0.0, context, workers=workers)
  else:
    context = InProcessContext(device=place)
    with contextlib.closing(context), tff.framework.get_context_stack().install(context), tf.device(place):
      yield Runtime(name, place, lambda: 0.0, context)


def _select_device(runtime: str, device: str) -> None:
  """Hides GPUs from TensorFlow, or makes sure that there is one; what is visible is where functions are placed."""
  if device == 'cpu':
    with contextlib.suppress(RuntimeError):  # TensorFlow has started already; its devices stay as they are
      tf.config.set_visible_devices([], 'GPU')
  elif runtime == 'worker':
    raise UserError("--device=gpu: TFF's worker has no GPU kernels; --runtime=in_process has.")
  elif runtime == 'in_process' and not tf.config.list_physical_devices('GPU'):
    raise UserError(
      '--device=gpu: TensorFlow finds no GPU here. docs/how-to/gpu.md says how to install its CUDA libraries; '
      'python -m fedprox_tff.doctor says what is missing.'
    )
