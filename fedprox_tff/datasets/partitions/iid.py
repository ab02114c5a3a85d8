# SPDX-License-Identifier: Apache-2.0
"""Random examples everywhere: the clients are alike."""

import numpy as np

from fedprox_tff.datasets.partitions.base import Partition, require_two_each


def iid() -> Partition:
  """Returns the partition into equally many random examples."""
  return Partition('iid', 'IID', _split)


def _split(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
  """Deals shuffled examples evenly: the clients' sizes differ by one at most."""
  require_two_each(labels, num_clients)
  return np.array_split(rng.permutation(len(labels)), num_clients)
