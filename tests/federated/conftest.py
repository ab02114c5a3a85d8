# SPDX-License-Identifier: Apache-2.0
import pytest

from fedprox_tff.federated import runtimes


@pytest.fixture(autouse=True)
def in_process():
  """Runs a test's TFF computations in this process, unless it chooses another runtime itself."""
  with runtimes.use('in_process') as runtime:
    yield runtime
