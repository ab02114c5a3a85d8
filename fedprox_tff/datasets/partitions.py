# SPDX-License-Identifier: Apache-2.0
"""Splits of labelled examples over clients: which client holds which rows.

A partition is a pure function of the labels and a generator. It returns one array of row numbers per client, in an
order that is already random, so that the first 90 % can be the client's training examples. No row is ever dealt
twice, and every client gets at least two, one to train on and one to test on.

  power_law   Li et al., "Federated Optimization in Heterogeneous Networks" (MLSys 2020), as its MNIST script does it
  shards      McMahan et al., "Communication-Efficient Learning of Deep Networks" (AISTATS 2017), two shards a client
  dirichlet   Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution" (2019), with class by class
              draws over the clients, which leaves the clients' sizes uneven
  iid         the same number of random examples everywhere
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError

SEED_EXAMPLES = 5  # of each of its two classes, for every client of the power law


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


def _power_law(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
  """Gives client u the classes u and u + 1 modulo C, in amounts of a heavy-tailed law.

  Every client first takes five examples of each of its two classes. What is left of a class is then shared out among
  the clients that hold it in proportion to draws from LogNormal(0, 2), rounded down. A class's examples are taken in
  the order of the file. The authors' script fixes C = 10; here C is the number of classes among the labels.

  Raises:
    DataError: if `num_clients` is not a multiple of C, or the five examples of each would not go round.
  """
  classes, counts = np.unique(labels, return_counts=True)
  num_classes = len(classes)
  ranks = num_clients // num_classes  # clients that have the same two classes
  seeded = 2 * SEED_EXAMPLES * ranks  # of each class
  if num_clients < 1 or num_clients % num_classes or seeded > counts.min():
    largest = counts.min() // (2 * SEED_EXAMPLES) * num_classes
    raise DataError(
      f'--num_clients={num_clients}: --partition=power_law deals {num_classes} classes in turn, {SEED_EXAMPLES} '
      f'examples of two classes to each client at least, so it takes a multiple of {num_classes} up to {largest:,}.'
    )

  shares = rng.lognormal(0.0, 2.0, (num_classes, ranks, 2))
  shares *= (counts - seeded)[:, None, None] / shares.sum(axis=(1, 2), keepdims=True)
  rows_of_class = [np.flatnonzero(labels == label) for label in classes]
  dealt = np.zeros(num_classes, np.int64)
  hands = [[] for _ in range(num_clients)]

  def deal(client: int, label: int, number: int):
    hands[client].append(rows_of_class[label][dealt[label] : dealt[label] + number])
    dealt[label] += number

  holdings = [(client, which, (client + which) % num_classes) for client in range(num_clients) for which in range(2)]
  for client, _, label in holdings:
    deal(client, label, SEED_EXAMPLES)
  for client, which, label in holdings:
    number = int(shares[label, client // num_classes, which])
    # The script's capacity check. Rounding down leaves a class unfinished, so it stops a share only when the shares
    # are whole numbers, and then the last one.
    if dealt[label] + number < counts[label]:
      deal(client, label, number)
  return [rng.permutation(np.concatenate(hand)) for hand in hands]


def _iid(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
  """Deals shuffled examples evenly: the clients' sizes differ by one at most."""
  _require_two_each(labels, num_clients)
  return np.array_split(rng.permutation(len(labels)), num_clients)


def _shards(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
  """Sorts the examples by label, cuts them into 2 * num_clients equal shards and deals each client two at random."""
  _require_two_each(labels, num_clients)
  pieces = np.array_split(np.argsort(labels, kind='stable'), 2 * num_clients)
  hands = rng.permutation(2 * num_clients).reshape(num_clients, 2)
  return [rng.permutation(np.concatenate([pieces[first], pieces[second]])) for first, second in hands]


def _dirichlet(
  labels: np.ndarray, num_clients: int, rng: np.random.Generator, concentration: float
) -> list[np.ndarray]:
  """Shares every class out over the clients in proportions drawn from a symmetric Dirichlet distribution.

  A client that ends with fewer than two examples is given random ones of whichever client then has the most.

  Args:
    labels: int [n], one label per row.
    num_clients: the number of clients.
    rng: the only source of randomness.
    concentration: alpha, above 0: towards 0 each class goes to one client, towards infinity the clients become alike.

  Raises:
    DataError: if the concentration is not a positive number, or the examples do not go round.
  """
  if not 0 < concentration < np.inf:
    raise DataError(f'--dirichlet_alpha={concentration} is not a positive number.')
  _require_two_each(labels, num_clients)
  owner = np.empty(len(labels), np.int64)
  for label in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == label))
    proportions = rng.dirichlet(np.full(num_clients, concentration))
    owner[rows] = np.searchsorted(np.cumsum(proportions)[:-1] * len(rows), np.arange(len(rows)), side='right')
  sizes = np.bincount(owner, minlength=num_clients)
  for client in np.repeat(np.arange(num_clients), np.maximum(2 - sizes, 0)):
    donor = np.argmax(sizes)
    owner[rng.choice(np.flatnonzero(owner == donor))] = client
    sizes[[donor, client]] += -1, 1
  rows = rng.permutation(len(labels))
  return np.split(rows[np.argsort(owner[rows], kind='stable')], np.cumsum(sizes)[:-1])


def _require_two_each(labels: np.ndarray, num_clients: int):
  if not 1 <= num_clients <= len(labels) // 2:
    raise DataError(
      f'--num_clients={num_clients}: {len(labels):,} examples allow 1 to {len(labels) // 2:,} clients, as each needs '
      'one to train on and one to test on.'
    )


def power_law() -> Partition:
  """Returns the paper's partition of MNIST: two classes a client, log-normal sizes."""
  return Partition('power_law', 'power law', _power_law)


def iid() -> Partition:
  """Returns the partition into equally many random examples."""
  return Partition('iid', 'IID', _iid)


def shards() -> Partition:
  """Returns the partition into two shards of examples a client, sorted by label."""
  return Partition('shards', 'two shards a client', _shards)


def dirichlet(*, dirichlet_alpha: Annotated[float, (1e-6, None)] = 0.5) -> Partition:
  """Returns the partition by Dirichlet draws.

  Args:
    dirichlet_alpha: Concentration of the Dirichlet distribution.
  """

  def split(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    return _dirichlet(labels, num_clients, rng, dirichlet_alpha)

  return Partition('dirichlet', rf'Dirichlet($\alpha$ = {dirichlet_alpha:.7g})', split)


PARTITIONS: dict[str, Callable[..., Partition]] = {f.__name__: f for f in (power_law, iid, shards, dirichlet)}
