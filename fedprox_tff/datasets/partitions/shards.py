# SPDX-License-Identifier: Apache-2.0
"""Two shards a client, McMahan et al., "Communication-Efficient Learning of Deep Networks" (AISTATS 2017)."""

import numpy as np

from fedprox_tff.datasets.partitions.base import Partition, require_two_each


def shards() -> Partition:
  """Returns the partition into two shards of examples a client, sorted by label."""
  return Partition('shards', 'two shards a client', _split)


def _split(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
  """Sorts the examples by label, cuts them into 2 * num_clients equal shards and deals each client two at random."""
  require_two_each(labels, num_clients)
  pieces = np.array_split(np.argsort(labels, kind='stable'), 2 * num_clients)
  hands = rng.permutation(2 * num_clients).reshape(num_clients, 2)
  return [rng.permutation(np.concatenate([pieces[first], pieces[second]])) for first, second in hands]
