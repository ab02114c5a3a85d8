# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from fedprox_tff.core import threads
from fedprox_tff.machine import frameworks
from tests import ray_nodes

# What takes a minute or more by itself, longest first: no process is to begin with it when the others have ended.
LONGEST = (
  'test_sweep.py',
  'test_run.py',
  'ray',
  'test_tasks.py',
  'federated/test_methods.py',
  'test_benchmarks.py',
  'training/test_run_on_ray.py',
  'sweeps/test_damaged_cells.py',
  'federated/test_client_state_methods.py',
  'training/test_round_writer.py',
  'federated/runtimes/test_runtime.py',
  'training/test_damage.py',
  'training/test_sharing.py',
)

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # before anything imports TensorFlow


def pytest_sessionstart():
  """Lets TensorFlow's operations take as many threads as in a run, before any of them is computed."""
  frameworks.load()
  threads.pin()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items):
  """Gives the tests of a file, and all that need a cluster, to one process, and begins with those that take longest."""

  def group(item):
    return 'ray' if 'two_nodes' in item.fixturenames else item.nodeid.partition('::')[0].removeprefix('tests/')

  for item in items:
    item.add_marker(pytest.mark.xdist_group(group(item)))
  items.sort(key=lambda item: LONGEST.index(group(item)) if group(item) in LONGEST else len(LONGEST))


@pytest.fixture(scope='session')
def two_nodes():
  """The address of a Ray cluster of two nodes with one core each, on this machine."""
  pytest.importorskip('ray', reason='"make ray" installs Ray')
  with ray_nodes.cluster(1, 1) as (address, _):
    yield address
  assert ray_nodes.soon(lambda: not ray_nodes.rays_processes())
