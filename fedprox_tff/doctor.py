# SPDX-License-Identifier: Apache-2.0
"""Is this machine fit for the suite? What is wrong with it, and the cure.

A check takes what it judges as arguments and returns a `Finding`. This file and what it imports need nothing but the
standard library, so that a Python that the rest of the suite cannot be run with can still say so. That is why its flags
are read with argparse, where the other programs use absl.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import math
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import NoReturn

from fedprox_tff.cluster import diagnosis
from fedprox_tff.machine import probes
from fedprox_tff.machine.console import BAD_INPUT, DONE, FAILED
from fedprox_tff.machine.findings import Finding
from fedprox_tff.machine.resources import GIB, free_memory, usable_cores

MEMORY_OF_A_RUN = 1.5 * GIB  # on MNIST it takes 1.2, and TFF's worker 0.2
UPDATE = 'touch requirements.txt && make setup'
REBUILD = 'rm -r .venv && make setup'
LOCAL_HOSTS = ('localhost', '127.0.0.1')

GPUS = """
import tensorflow as tf
print(*[gpu.name for gpu in tf.config.list_physical_devices('GPU')])
"""

RUNTIME = """
import tensorflow as tf
import tensorflow_federated as tff
from fedprox_tff.federated import runtimes

@tff.tensorflow.computation
def answer():
  return tf.constant(42)

with runtimes.use({runtime!r}):
  print(int(answer()))
"""

MNIST = """
from fedprox_tff.datasets import mnist_files
print(mnist_files.locate({data_dir!r}) or '')
"""


def main() -> int:
  """Prints all findings; returns 1 if one of them is a failure, else 0."""
  parser = _Parser(prog='python -m fedprox_tff.doctor', description=__doc__.splitlines()[0])
  parser.add_argument('--data_dir', help='a folder of data sets to look in before $FEDPROX_DATA_DIR and the cache')
  parser.add_argument(
    '--ray_address',
    type=_address,
    default='auto',
    help='if Ray is installed, the cluster to examine: auto or HOST:PORT (auto)',
  )
  parser.add_argument('--results_dir', default='results', help='a folder that all nodes should see (results)')
  parser.add_argument('--timeout', type=_seconds, default=60, help='seconds that each probe may take (60)')
  flags = parser.parse_args()
  failed = False
  for finding in itertools.chain(
    examine(flags.data_dir, flags.timeout), examine_cluster(flags.ray_address, flags.results_dir, flags.timeout)
  ):
    print(finding, flush=True)
    failed |= finding.status == 'FAIL'
  return FAILED if failed else DONE


def examine(data_dir: str | None, timeout: float) -> Iterator[Finding]:
  """Yields the findings on this machine, the quick ones first."""
  pins = pins_of('requirements.txt')
  yield check_python(sys.version_info)
  yield check_platform(platform.system(), platform.machine())
  yield check_glibc(*platform.libc_ver())
  yield check_packages(pins, {name: installed_version(name) for name in pins})
  yield check_resources(usable_cores(), free_memory())
  yield check_proxy(os.environ)
  yield check_mnist(probes.ask(MNIST.format(data_dir=data_dir), timeout))
  yield check_gpus(probes.ask(GPUS, timeout), has_driver=has_nvidia_driver())
  for runtime in ('in_process', 'worker'):
    yield check_runtime(runtime, probes.ask(RUNTIME.format(runtime=runtime), timeout))


def examine_cluster(address: str, results_dir: str, timeout: float) -> Iterator[Finding]:
  """Yields the findings on Ray, if it is installed on a cluster, and on each of its nodes."""
  pins = pins_of('requirements-ray.txt')
  installed = {name: installed_version(name) for name in ('ray', *pins)}
  yield diagnosis.check_ray(pins, installed)
  if installed['ray'] is None:
    return
  with diagnosis.trace(results_dir) as traced:
    survey = diagnosis.SURVEY.format(address=address, file=traced.file, seconds=timeout)
    yield from diagnosis.check_cluster(address, probes.ask(survey, timeout), traced)


def check_python(version: tuple) -> Finding:
  """TFF 0.87 allows Python 3.9 to 3.11, and the locks are made for 3.11."""
  found = '.'.join(str(part) for part in version[:3])
  if version[:2] == (3, 11):
    return Finding('ok', 'Python', found)
  return Finding('FAIL', 'Python', f'{found}, and 3.11 is needed', 'make doctor, which uses the Python of .venv')


def check_platform(system: str, machine: str) -> Finding:
  """TFF's wheel holds a binary for one platform."""
  if (system, machine) == ('Linux', 'x86_64'):
    return Finding('ok', 'platform', f'{system} {machine}')
  return Finding('FAIL', 'platform', f'{system} {machine}', 'use x86-64 Linux, or a container or virtual machine of it')


def check_glibc(name: str, version: str) -> Finding:
  """TFF's wheel is built for glibc 2.31."""
  found = f'{name} {version}'.strip() or 'unknown'
  if name == 'glibc' and tuple(int(part) for part in version.split('.')[:2]) >= (2, 31):
    return Finding('ok', 'C library', found)
  return Finding('FAIL', 'C library', f'{found}, and glibc 2.31 is needed', 'use Debian 11, Ubuntu 20.04 or newer')


def check_packages(pins: Mapping[str, str], installed: Mapping[str, str | None]) -> Finding:
  """The packages are those of the lock."""
  if not pins:
    found = 'not compared: requirements.txt is in a clone of the source only'
    return Finding('warn', 'packages', found, 'call the doctor in a clone')
  missing = [name for name in pins if installed[name] is None]
  other = [f'{name} {installed[name]}, not {pins[name]}' for name in pins if installed[name] not in (None, pins[name])]
  if missing:
    return Finding('FAIL', 'packages', f'{len(missing)} of {len(pins)} are missing: {_some(missing)}', UPDATE)
  if other:
    return Finding('warn', 'packages', f'{len(other)} of {len(pins)} differ from the lock: {_some(other)}', UPDATE)
  return Finding('ok', 'packages', f'all {len(pins)} as in requirements.txt')


def check_resources(num_cores: int, memory: float) -> Finding:
  """A run fits into the memory that is free."""
  found = f'{num_cores} cores, {memory / GIB:.1f} GiB of memory free'
  if memory >= MEMORY_OF_A_RUN:
    return Finding('ok', 'resources', found)
  return Finding('warn', 'resources', found, f'free {MEMORY_OF_A_RUN / GIB} GiB for each run at a time')


def check_proxy(environ: Mapping[str, str]) -> Finding:
  """With a proxy that is not told to spare this machine, a TFF program waits for its worker for ever."""
  proxies = ', '.join(name for name in ('grpc_proxy', 'https_proxy', 'http_proxy') if environ.get(name))
  spared = f'{environ.get("no_grpc_proxy", "")},{environ.get("no_proxy", "")}'.replace(' ', '').split(',')
  if not proxies:
    return Finding('ok', 'proxy', 'none')
  if all(host in spared for host in LOCAL_HOSTS):
    return Finding('ok', 'proxy', f'{proxies}; no_proxy spares this machine')
  found = f'{proxies} without a no_proxy for this machine: TFF waits for ever, though not in this suite'
  return Finding('warn', 'proxy', found, f'for TFF programs of your own: export no_proxy={",".join(LOCAL_HOSTS)}')


def check_mnist(answer: probes.Answer) -> Finding:
  """MNIST is on this machine."""
  if 'UserError' in answer.problem:
    return Finding('FAIL', 'MNIST', answer.problem, 'name a folder that exists')
  if answer.problem:
    return Finding('FAIL', 'MNIST', answer.problem, REBUILD)
  if answer.output:
    return Finding('ok', 'MNIST', answer.output)
  found = 'not on this machine; the first run downloads its 11 MB'
  cure = 'without a network: put its four IDX files or mnist.npz in a folder and name that in $FEDPROX_DATA_DIR'
  return Finding('warn', 'MNIST', found, cure)


def check_gpus(answer: probes.Answer, *, has_driver: bool) -> Finding:
  """TensorFlow can be imported, and sees the GPUs that there are."""
  if answer.problem:
    return Finding('FAIL', 'TensorFlow', answer.problem, REBUILD)
  if answer.output:
    return Finding('ok', 'GPU', f'{answer.output}, used with --device=gpu')
  if has_driver:
    return Finding('warn', 'GPU', 'an NVIDIA driver is there, but TensorFlow sees no GPU', 'make gpu')
  return Finding('ok', 'GPU', 'none; runs use the CPU', 'for --device=gpu: install the NVIDIA driver, then make gpu')


def check_runtime(runtime: str, answer: probes.Answer) -> Finding:
  """The runtime computes 42."""
  what = f'runtime {runtime}'
  if answer.output == '42' and not answer.problem:
    return Finding('ok', what, f'answers {answer.seconds:.0f} s after a cold start')
  hangs = runtime == 'worker' and answer.problem.startswith(probes.NO_ANSWER)
  cure = 'allow connections from localhost to localhost, or use --runtime=in_process' if hangs else REBUILD
  return Finding('FAIL', what, answer.problem or f'answers {answer.output!r}, not 42', cure)


def pins_of(name: str) -> dict[str, str]:
  """Returns the versions that a lock of this project pins; none where there is no clone of the source."""
  lock = probes.ROOT / name
  return read_pins(lock.read_text()) if lock.exists() else {}


def read_pins(lock: str) -> dict[str, str]:
  """Returns the versions that a lock pins, by name."""
  return dict(re.findall(r'^([\w.-]+)==([^\s;\\]+)', lock, re.MULTILINE))


def installed_version(name: str) -> str | None:
  """Returns the version of an installed package, or None."""
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def has_nvidia_driver() -> bool:
  """Tells whether an NVIDIA driver is installed, be it Linux's or that of Windows seen through WSL."""
  return os.path.exists('/proc/driver/nvidia/version') or shutil.which('nvidia-smi') is not None


class _Parser(argparse.ArgumentParser):
  """Says what is wrong in one line, as the other programs do."""

  def error(self, message: str) -> NoReturn:
    self.exit(BAD_INPUT, f'error: {message.removeprefix("argument ")}\n')


def _address(text: str) -> str:
  host, _, port = text.rpartition(':')
  if text != 'auto' and not (host and port.isdecimal()):
    raise argparse.ArgumentTypeError(f'{text!r} came, and auto or HOST:PORT is needed.')
  return text


def _seconds(text: str) -> float:
  try:
    seconds = float(text)
  except ValueError:
    seconds = 0.0
  if not 0 < seconds < math.inf:
    raise argparse.ArgumentTypeError(f'{text!r} came, and a number above 0 is needed.')
  return seconds


def _some(items: list[str], limit: int = 8) -> str:
  rest = f' and {len(items) - limit} more' if len(items) > limit else ''
  return ', '.join(items[:limit]) + rest


if __name__ == '__main__':
  sys.exit(main())
