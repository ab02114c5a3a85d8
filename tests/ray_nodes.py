# SPDX-License-Identifier: Apache-2.0
"""Ray clusters on this machine for tests, and what they leave."""

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import psutil


@contextlib.contextmanager
def cluster(*cpus: int) -> Iterator[tuple[str, list[psutil.Process]]]:
  """Yields the address of a cluster, and the process of each node, of which all others of the node are children.

  Nodes are started as users do, and with a folder of their own. `ray.cluster_utils.Cluster` would write their address
  to where Ray keeps that for 'auto', which may be that of a cluster in use. The folder's path is short: sockets are in
  it.

  Args:
    *cpus: The cores of each node, the head first.
  """
  with tempfile.TemporaryDirectory(prefix='ray', ignore_cleanup_errors=True) as name, contextlib.ExitStack() as stack:
    folder = pathlib.Path(name)
    head = ['--head', '--port=0', '--include-dashboard=false', f'--temp-dir={folder}']
    processes = [stack.enter_context(_node(folder / 'head.log', f'--num-cpus={cpus[0]}', *head))]
    address = (folder / 'ray_current_cluster').read_text()
    for number, cores in enumerate(cpus[1:], start=2):
      place = [f'--address={address}', f'--node-ip-address=127.0.0.{number}']
      processes.append(stack.enter_context(_node(folder / f'{number}.log', f'--num-cpus={cores}', *place)))
    # A program joins the node whose address is in this file, and ends with it: the head, which no test ends.
    (folder / 'session_latest' / 'node_ip_address.json').write_text(
      json.dumps({'node_ip_address': address.rpartition(':')[0]})
    )
    yield address, processes


@contextlib.contextmanager
def _node(log: pathlib.Path, *options: str) -> Iterator[psutil.Process]:
  command = [pathlib.Path(sys.executable).with_name('ray'), 'start', '--disable-usage-stats', '--block', *options]
  with log.open('w') as file:
    process = subprocess.Popen(
      command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
    )
  try:
    assert soon(lambda: 'block forever' in log.read_text() or process.poll() is not None, 60), log.read_text()
    assert process.poll() is None, log.read_text()
    yield psutil.Process(process.pid)
  finally:
    end(process)


def end(process: subprocess.Popen | psutil.Process) -> None:
  """Ends a node, and waits until nothing is left of it."""
  with contextlib.suppress(psutil.NoSuchProcess):
    everybody = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    _, left = psutil.wait_procs(everybody, timeout=10)
    for one in left:
      one.kill()
    process.kill()
  process.wait()


def rays_processes() -> set[psutil.Process]:
  """Returns the processes of Ray's that descend from this one."""
  found = set()
  for process in psutil.Process().children(recursive=True):
    with contextlib.suppress(psutil.Error):
      if any(word in ' '.join(process.cmdline()) for word in ('raylet', 'gcs_server', 'ray::', 'default_worker')):
        found.add(process)
  return found


def workers(kind: str = 'ray::') -> list[psutil.Process]:
  """Returns the workers that do something, or those of one kind."""
  found = []
  for process in rays_processes():
    with contextlib.suppress(psutil.Error):
      if process.cmdline()[:1] and process.cmdline()[0].startswith(kind):
        found.append(process)
  return found


def soon(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
  """Returns whether a condition holds, now or within some seconds."""
  until = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > until:
      return False
    time.sleep(0.05)
  return True
