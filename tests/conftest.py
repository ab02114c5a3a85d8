# SPDX-License-Identifier: Apache-2.0
import os
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # before anything imports TensorFlow


def pytest_unconfigure():
  """Lets go of TFF's default context now: it complains when the interpreter takes it down at the end."""
  if 'tensorflow_federated' in sys.modules:
    from fedprox_tff.federated.runtimes.in_process import InProcessContext

    sys.modules['tensorflow_federated'].framework.set_default_context(InProcessContext())
