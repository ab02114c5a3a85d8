# SPDX-License-Identifier: Apache-2.0
"""A few classes a client and log-normal sizes, Li et al., "Federated Optimization in Heterogeneous Networks" (2020).

It is what the authors' MNIST script does (MLSys 2020, Section 5.1). The script fixes ten classes and two a client;
here the classes are those among the labels, and a client holds as many as one likes.
"""

from typing import Annotated

import numpy as np

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets.partitions.base import Partition

SEED_EXAMPLES = 5  # of each of its classes, for every client


def power_law(*, classes_per_client: Annotated[int, (1, None)] = 2) -> Partition:
  """Returns the paper's partition of MNIST: two classes a client, log-normal sizes.

  Args:
    classes_per_client: How many classes a client holds: client u the classes u, u + 1, and so on.
  """

  def split(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    return _split(labels, num_clients, rng, classes_per_client)

  title = 'power law' if classes_per_client == 2 else f'power law, {_classes(classes_per_client)} a client'
  return Partition('power_law', title, split)


def _split(labels: np.ndarray, num_clients: int, rng: np.random.Generator, held: int) -> list[np.ndarray]:
  """Gives client u the classes u to u + held - 1 modulo C, in amounts of a heavy-tailed law.

  Every client first takes five examples of each of its classes. What is left of a class is then shared out among the
  clients that hold it in proportion to draws from LogNormal(0, 2), rounded down. A class's examples are taken in the
  order of the file. C is the number of classes among the labels.

  Raises:
    DataError: If there are fewer classes than a client is to hold, `num_clients` is not a multiple of C, or the five
      examples of each would not go round.
  """
  classes, counts = np.unique(labels, return_counts=True)
  num_classes = len(classes)
  if held > num_classes:
    raise DataError(f'--classes_per_client={held}: the data have {_classes(num_classes)}.')
  ranks = num_clients // num_classes  # clients that have the same classes
  seeded = held * SEED_EXAMPLES * ranks  # of each class
  if num_clients < 1 or num_clients % num_classes or seeded > counts.min():
    largest = counts.min() // (held * SEED_EXAMPLES) * num_classes
    raise DataError(
      f'--num_clients={num_clients}: --partition=power_law deals {num_classes} classes in turn, {SEED_EXAMPLES} '
      f'examples of {_classes(held)} to each client at least, so it takes a multiple of {num_classes} up to '
      f'{largest:,}.'
    )

  shares = rng.lognormal(0.0, 2.0, (num_classes, ranks, held))
  shares *= (counts - seeded)[:, None, None] / shares.sum(axis=(1, 2), keepdims=True)
  rows_of_class = [np.flatnonzero(labels == label) for label in classes]
  dealt = np.zeros(num_classes, np.int64)
  hands = [[] for _ in range(num_clients)]

  def deal(client: int, label: int, number: int):
    hands[client].append(rows_of_class[label][dealt[label] : dealt[label] + number])
    dealt[label] += number

  holdings = [(client, which, (client + which) % num_classes) for client in range(num_clients) for which in range(held)]
  for client, _, label in holdings:
    deal(client, label, SEED_EXAMPLES)
  for client, which, label in holdings:
    number = int(shares[label, client // num_classes, which])
    # The script's capacity check. Rounding down leaves a class unfinished, so it stops a share only when the shares
    # are whole numbers, and then the last one.
    if dealt[label] + number < counts[label]:
      deal(client, label, number)
  return [rng.permutation(np.concatenate(hand)) for hand in hands]


def _classes(number: int) -> str:
  words = {1: 'one class', 2: 'two classes'}
  return words.get(number, f'{number} classes')
