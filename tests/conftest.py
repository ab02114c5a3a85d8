# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

from fedprox_tff.core import threads
from tests import ray_nodes

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # before anything imports TensorFlow


def pytest_sessionstart():
  """Lets TensorFlow's operations take as many threads as in a run, before any of them is computed."""
  threads.pin()


@pytest.fixture(scope='session')
def two_nodes():
  """The address of a Ray cluster of two nodes with one core each, on this machine."""
  pytest.importorskip('ray', reason='"make ray" installs Ray')
  with ray_nodes.cluster(1, 1) as (address, _):
    yield address
  assert ray_nodes.soon(lambda: not ray_nodes.rays_processes())


def pytest_unconfigure():
  """Lets go of TFF's default context now: it complains when the interpreter takes it down at the end."""
  if 'tensorflow_federated' in sys.modules:
    from fedprox_tff.federated.runtimes.in_process import InProcessContext

    sys.modules['tensorflow_federated'].framework.set_default_context(InProcessContext())
