# SPDX-License-Identifier: Apache-2.0
"""TFF's own runtime, a C++ worker behind gRPC, started and ended with care.

What TFF's local context leaves to luck, found by measuring it: it waits for ever for a worker that does not start and
retries for ever on one that died; its channel goes through `http_proxy`; the worker inherits standard output, so that
a pipe behind the program never closes, and outlives a program that is terminated.

What cannot be mended: the worker listens on all addresses of the machine, has no option for that, and asks for no
password. `Worker.note` says so.
"""

import contextlib
import ctypes
import functools
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import portpicker
import psutil
import tensorflow_federated as tff

from fedprox_tff.core import threads
from fedprox_tff.core.errors import RunFailedError
from fedprox_tff.machine.resources import usable_cores

_START_SECONDS = 45.0
_STOP_SECONDS = 5.0
_STALL_SECONDS = 40.0
_MESSAGE_BYTES = 2 * 10**9
_BINARY = pathlib.Path(tff.__file__).parent / 'data' / 'worker_binary'
_CHANNEL_OPTIONS = [
  ('grpc.max_receive_message_length', _MESSAGE_BYTES),
  ('grpc.max_send_message_length', _MESSAGE_BYTES),
  ('grpc.enable_http_proxy', 0),
]
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded before any fork


class Worker:
  """A running worker process."""

  def __init__(self, process: subprocess.Popen, port: int, log: pathlib.Path):
    self._process = process
    self._port = port
    self._log = log
    self._killed_because = ''
    self.calls = 0  # that wait for an answer

  def kill_if_stalled(self, ended: threading.Event) -> None:
    """Kills the worker once it has used no CPU time for so long that a call waits for nothing; runs in a thread."""
    used, since = None, time.monotonic()
    while not ended.wait(_STALL_SECONDS / 20):
      try:
        now = psutil.Process(self._process.pid).cpu_times()[:2]
      except psutil.Error:
        return
      if now != used or not self.calls:
        used, since = now, time.monotonic()
      elif time.monotonic() - since > _STALL_SECONDS:
        self._killed_because = f"TFF's worker did nothing for {_STALL_SECONDS:.0f} s and was ended"
        self._process.kill()

  @property
  def note(self) -> str:
    """What whoever starts a worker should know, in one line."""
    return (
      f"note: TFF's worker listens on all addresses of this machine, on port {self._port}, without a password; "
      'use it only where you trust all who can reach that port'
    )

  def memory_mb(self) -> float:
    """Returns the worker's resident memory in MiB, 0 once it has ended."""
    try:
      return psutil.Process(self._process.pid).memory_info().rss / 2**20
    except psutil.Error:
      return 0.0

  def failure(self) -> str:
    """Returns one line that says what became of the worker."""
    status = self._process.poll()
    lines = self._log.read_text(errors='replace').strip().splitlines()
    said = f'; it last said: {lines[-1]}' if lines else ''
    if status is None:
      return f"TFF's worker (process {self._process.pid}) does not answer{said}"
    if self._killed_because:
      return f'{self._killed_because}{said}'
    ended = f'by signal {signal.Signals(-status).name}' if status < 0 else f'with exit code {status}'
    return f"TFF's worker ended {ended}{said}"

  def wait(self) -> None:
    """Gives a dying worker a moment, to be able to say how it ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(1.0)

  def is_alive(self) -> bool:
    """Returns whether the process runs."""
    return self._process.poll() is None


@contextlib.contextmanager
def run_worker(
  binary: pathlib.Path = _BINARY, *, start_seconds: float = _START_SECONDS
) -> Iterator[tuple[tff.framework.SyncContext, Worker]]:
  """Starts a worker, yields a context that runs computations in it, and ends it however the block ends.

  Args:
    binary: The worker's program; TFF's own.
    start_seconds: How long it may take to start.

  Raises:
    RunFailedError: If it does not start in time; also from a computation during which it dies, or stalls.
  """
  with tempfile.TemporaryDirectory(prefix='fedprox_tff_worker_') as folder:
    log = pathlib.Path(folder) / 'log'
    port = portpicker.pick_unused_port()
    with _process(binary, port, log) as process:
      worker = Worker(process, port, log)
      with grpc.insecure_channel(f'localhost:{port}', _CHANNEL_OPTIONS) as channel, _watched(worker):
        stub = _FailFastStub(channel, worker)
        _wait_until_ready(stub, worker, start_seconds)
        yield _context(stub), worker


@contextlib.contextmanager
def _process(binary: pathlib.Path, port: int, log: pathlib.Path) -> Iterator[subprocess.Popen]:
  command = [binary, f'--port={port}', f'--max_concurrent_computation_calls={usable_cores()}']
  try:
    with log.open('wb') as output:
      process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=threads.environment(),
        start_new_session=True,  # Ctrl-C is for the program, which then ends the worker
        preexec_fn=functools.partial(_libc.prctl, _PR_SET_PDEATHSIG, signal.SIGKILL),  # even if we are killed
      )
  except OSError as error:
    raise RunFailedError(f"TFF's worker cannot be started: {error}.") from error
  try:
    yield process
  finally:
    process.terminate()
    try:
      process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()


@contextlib.contextmanager
def _watched(worker: Worker) -> Iterator[None]:
  ended = threading.Event()
  threading.Thread(target=worker.kill_if_stalled, args=(ended,), daemon=True).start()
  try:
    yield
  finally:
    ended.set()


def _wait_until_ready(stub: tff.framework.RemoteExecutorGrpcStub, worker: Worker, seconds: float) -> None:
  deadline = time.monotonic() + seconds
  while not stub.is_ready:
    if not worker.is_alive() or time.monotonic() > deadline:
      raise RunFailedError(f'{worker.failure()} (waited for it to start).')
    time.sleep(0.02)


def _fail_fast(name: str) -> Callable:
  def call(self, request):
    self.worker.calls += 1
    try:
      return getattr(super(_FailFastStub, self), name)(request)
    except tff.framework.RetryableError as error:
      self.worker.wait()
      raise RunFailedError(f'{self.worker.failure()}.') from error
    finally:
      self.worker.calls -= 1

  return call


class _FailFastStub(tff.framework.RemoteExecutorGrpcStub):
  """A stub for which an unreachable worker is an error; TFF's contexts would retry for ever."""

  def __init__(self, channel: grpc.Channel, worker: Worker):
    super().__init__(channel)
    self.worker = worker

  get_executor = _fail_fast('get_executor')
  create_value = _fail_fast('create_value')
  create_struct = _fail_fast('create_struct')
  create_call = _fail_fast('create_call')
  create_selection = _fail_fast('create_selection')
  compute = _fail_fast('compute')

  def dispose(self, request):
    """Forgets values in the worker; a dead one has forgotten them."""
    with contextlib.suppress(tff.framework.RetryableError):
      super().dispose(request)

  def dispose_executor(self, request):
    """Forgets an executor in the worker; a dead one has forgotten it."""
    with contextlib.suppress(tff.framework.RetryableError):
      super().dispose_executor(request)


def _context(stub: tff.framework.RemoteExecutorStub) -> tff.framework.SyncContext:
  """Returns TFF's stock execution context over `stub`."""

  def create_executor(cardinalities):
    executor = tff.framework.RemoteExecutor(stub)
    executor.set_cardinalities({tff.CLIENTS: 0, **cardinalities})
    return executor

  return tff.framework.SyncExecutionContext(
    executor_fn=tff.framework.ResourceManagingExecutorFactory(create_executor),
    compiler_fn=tff.backends.native.desugar_and_transform_to_native,
    transform_args=tff.tensorflow.transform_args,
    transform_result=tff.tensorflow.transform_result,
  )
