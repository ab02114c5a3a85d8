# SPDX-License-Identifier: Apache-2.0
"""How this process joins a Ray cluster, or starts one on this machine, and what its user hears if that is impossible.

Ray is optional: it is imported here, when a cluster is asked for.
"""

import contextlib
import logging
import os
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from fedprox_tff.core.errors import RunFailedError, UserError, line_of
from fedprox_tff.machine.resources import usable_cores

AUTO, LOCAL = 'auto', 'local'  # addresses: the cluster that this machine is a node of; one for this process alone

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PORT_SECONDS = 5.0  # in which the head of a cluster has to let us in
_LOOK_SECONDS = 5.0  # between two looks at whether it is still there
# Ray's own words for what is no news to our users, and what it would send to its makers.
_ENVIRONMENT = {
  'RAY_USAGE_STATS_ENABLED': '0',
  'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0',
  'RAY_DISABLE_IMPORT_WARNING': '1',
  'RAY_BACKEND_LOG_LEVEL': 'fatal',
}


class NoClusterError(UserError):
  """This machine is no node of a cluster."""


@contextlib.contextmanager
def joined(address: str, flag: str) -> Iterator[Any]:
  """Joins a cluster for the block, and yields the module `ray`.

  What it has started on the cluster ends with the block, and so does a cluster of its own.

  Args:
    address: 'auto', the cluster that `ray start` has made this machine a node of, or that $RAY_ADDRESS names;
      'HOST:PORT', the head of one; 'local', a new one on this machine, with the cores that this process may use.
    flag: What asked for Ray, such as '--runtime=ray', for messages.

  Raises:
    NoClusterError: If the address is 'auto' and there is none.
    UserError: If Ray is not installed, or no such cluster answers.
  """
  ray = _import(flag)
  _check(address)
  try:
    with _signals_held(), _silent():
      _init(ray, address)
    # What Ray would print over our own lines whenever a worker dies, and has no option for.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    yield ray
  finally:
    with _signals_kept(lambda *_: None):  # it takes a second; what is in its way now leaves processes behind
      ray.shutdown()


def nodes(ray: Any) -> list[dict[str, Any]]:
  """Returns what Ray says of each node that is alive."""
  return [node for node in ray.nodes() if node['Alive']]


def has_head(ray: Any) -> bool:
  """Returns whether the head of the cluster still listens."""
  try:
    _knock(ray.get_runtime_context().gcs_address)
  except OSError:
    return False
  return True


class Head:
  """The head of a cluster, looked at now and then: without it, Ray ends this process after a minute, with no word."""

  def __init__(self, ray: Any):
    self._ray, self._next_look = ray, 0.0

  def check(self) -> None:
    """Looks again if some seconds have gone by.

    Raises:
      RunFailedError: If the head does not listen any more.
    """
    if time.monotonic() > self._next_look:
      self._next_look = time.monotonic() + _LOOK_SECONDS
      if not has_head(self._ray):
        raise RunFailedError('the head of the Ray cluster does not answer any more.')


def _init(ray: Any, address: str) -> None:
  options = {'num_cpus': usable_cores(), 'include_dashboard': False} if address == LOCAL else {}
  try:
    ray.init(
      address=_found(ray) if address == AUTO else address,
      job_config=ray.job_config.JobConfig(code_search_path=[str(_ROOT)]),
      logging_level=logging.ERROR,
      log_to_driver=False,
      **options,
    )
  except ConnectionError as error:
    if address != AUTO:
      raise UserError(f'--ray_address={address}: no cluster answers there ({line_of(error)}).') from None
    raise NoClusterError(
      '--ray_address=auto: this machine is no node of a Ray cluster; "ray start" makes it one, and '
      '--ray_address=local starts a cluster for this command alone.'
    ) from None
  except UserError:
    raise
  except Exception as error:  # of many kinds, such as that the cluster has another version, or starts too slowly
    raise UserError(f'--ray_address={address}: {line_of(error)}') from None


def _import(flag: str) -> Any:
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  try:
    import ray
  except ImportError:
    raise UserError(f'{flag}: Ray is not installed here; "make ray" installs it.') from None
  return ray


def _check(address: str) -> None:
  """Refuses an address that is none, or at which nobody listens: Ray would try for a long time.

  Raises:
    UserError: If so.
  """
  if address in (AUTO, LOCAL):
    return
  host, _, port = address.rpartition(':')
  if not host or not port.isdecimal():
    raise UserError(f'--ray_address={address}: auto, local or HOST:PORT is needed.')
  try:
    _knock(address)
  except (OSError, OverflowError) as error:
    raise UserError(f'--ray_address={address}: no cluster answers there ({line_of(error)}).') from None


def _found(ray: Any) -> str:
  """Returns the address that 'auto' stands for: Ray remembers one whose cluster may be long gone.

  Raises:
    ConnectionError: If there is none.
    UserError: If nobody listens there any more.
  """
  address = ray._private.services.canonicalize_bootstrap_address(AUTO)
  try:
    _knock(address)
  except (OSError, OverflowError, ValueError) as error:
    raise UserError(
      f'--ray_address=auto: no cluster answers at {address} any more ({line_of(error)}); '
      '"ray stop" forgets it, unless $RAY_ADDRESS names it.'
    ) from None
  return address


def _knock(address: str) -> None:
  host, _, port = address.rpartition(':')
  socket.create_connection((host, int(port)), _PORT_SECONDS).close()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
  """Lets nothing out on standard error in the block, where Ray's C++ says that it will say nothing."""
  try:
    kept = os.dup(2)
  except OSError:  # it is closed
    yield
    return
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, 2)
  try:
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
  """Holds up signals until the block has ended: a cluster that is half started leaves processes behind.

  A second one is heard at once, for the block may wait for a cluster that does not answer.
  """
  noted: list[int] = []
  before = {number: signal.getsignal(number) for number in _SIGNALS}

  def handle(number: int, frame: Any) -> None:
    noted.append(number)
    if len(noted) > 1 and callable(before[number]):
      noted.clear()
      before[number](number, frame)

  try:
    with _signals_kept(handle):
      yield
  finally:
    if noted:
      signal.raise_signal(noted[0])


@contextlib.contextmanager
def _signals_kept(handler: Callable[[int, Any], None]) -> Iterator[None]:
  """Has another handler for signals in the block, and the program's own ones after it: Ray sets one of its own."""
  before = {number: signal.getsignal(number) for number in _SIGNALS}
  is_main = threading.current_thread() is threading.main_thread()
  try:
    for number in before if is_main else ():
      if before[number] is not signal.SIG_IGN:
        signal.signal(number, handler)
    yield
  finally:
    for number in before if is_main else ():
      if signal.getsignal(number) is not before[number]:
        signal.signal(number, before[number])
