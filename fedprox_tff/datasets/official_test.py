# SPDX-License-Identifier: Apache-2.0
"""Images with an official test set, made into a federation that is tested on just that set.

A partition splits the training images over clients; all of a client's share is for training. Each test image then goes
to one client, class by class, in proportion to how many training images of the class the clients hold. The test
accuracy over all clients is so the accuracy on the official test set, and every client is tested on classes as it
trains on them. A client with few training images may have no test image.
"""

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import base
from fedprox_tff.datasets.partitions import Partition
from fedprox_tff.datasets.rows import take


def federate(
  name: str,
  train: base.Examples,
  test: base.Examples,
  *,
  num_classes: int,
  inputs: Inputs,
  source: str,
  data_seed: int,
  partition: Partition,
  num_clients: int,
) -> base.FederatedDataset:
  """Makes a federation of a training set and a test set; x stays of the type that it is.

  Args:
    name: The data set's name.
    train: The training examples, with one label each.
    test: The test examples.
    num_classes: How many classes there are.
    inputs: What the numbers in x mean.
    source: One line on where the examples came from.
    data_seed: Selects the split, a non-negative integer.
    partition: How the training examples are split over clients.
    num_clients: The number of clients.

  Raises:
    DataError: If the training examples cannot be split like that.
  """
  rng = streams.generator('data', data_seed)
  train_rows = partition.split(train.y, num_clients, rng)
  held = np.array([np.bincount(train.y[rows], minlength=num_classes) for rows in train_rows])
  return base.FederatedDataset(
    name=name,
    client_ids=base.client_ids(num_clients),
    train=take(train, train_rows),
    test=take(test, deal(test.y, held, rng)),
    num_classes=num_classes,
    source=source,
    inputs=inputs,
  )


def deal(labels: np.ndarray, held: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
  """Deals each test example once, so that clients have classes in proportion to what they train on.

  Of a class's T test examples client k gets T held[k] / sum(held), rounded down; those that are left go one each to the
  clients with the largest remainders, ties at random. A class that nobody trains on goes by the clients' sizes.

  Args:
    labels: int [n], the test examples' labels, below the number of classes.
    held: int [num_clients, num_classes], how many training examples of each class the clients hold.
    rng: The only source of randomness.

  Returns:
    For each client the rows of its test examples.
  """
  hands = [[] for _ in held]
  for label in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == label))
    weights = held[:, label] if held[:, label].any() else held.sum(axis=1)
    for hand, part in zip(hands, np.split(rows, np.cumsum(_shares(len(rows), weights, rng))[:-1]), strict=True):
      hand.append(part)
  return [np.concatenate(hand) for hand in hands]


def _shares(total: int, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Returns whole numbers in proportion to `weights` that add up to `total`, by largest remainders."""
  shares, remainders = np.divmod(total * weights.astype(np.int64), weights.sum())
  anyhow = rng.permutation(len(weights))
  most_first = anyhow[np.argsort(-remainders[anyhow], kind='stable')]
  shares[most_first[: total - shares.sum()]] += 1
  return shares
