# SPDX-License-Identifier: Apache-2.0
"""What a partition is: which client holds which rows.

A partition is a pure function of the labels and a generator. It returns one array of row numbers per client, in an
order that is already random, so that the first 90 % can be the client's training examples. No row is ever dealt
twice, and every client gets at least two, one to train on and one to test on.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError


class Partition(NamedTuple):
  """A way to split examples over clients.

  Attributes:
    name: The name on the command line.
    title: What figures and captions call it.
    split: `(labels, num_clients, rng)` to `num_clients` int64 arrays of distinct rows, client k's examples in training
      order. `labels` is int [n], one label per row, and `rng` the only source of randomness. It raises `DataError` if
      the examples do not go round.
  """

  name: str
  title: str
  split: Callable[[np.ndarray, int, np.random.Generator], list[np.ndarray]]


def require_two_each(labels: np.ndarray, num_clients: int) -> None:
  """Refuses a number of clients for which there are not two examples each.

  Raises:
    DataError: If so.
  """
  if not 1 <= num_clients <= len(labels) // 2:
    raise DataError(
      f'--num_clients={num_clients}: {len(labels):,} examples allow 1 to {len(labels) // 2:,} clients, as each needs '
      'one to train on and one to test on.'
    )


def by_owner(owner: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
  """Returns the rows of each client in a random order, where row i belongs to client owner[i]."""
  rows = rng.permutation(len(owner))
  sizes = np.bincount(owner, minlength=num_clients)
  return np.split(rows[np.argsort(owner[rows], kind='stable')], np.cumsum(sizes)[:-1])
