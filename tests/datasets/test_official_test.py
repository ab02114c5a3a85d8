# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import base, official_test
from fedprox_tff.datasets.partitions import PARTITIONS


def counts(labels, hands, num_classes):
  return [np.bincount(labels[rows], minlength=num_classes).tolist() for rows in hands]


def test_a_class_goes_in_proportion_to_what_clients_train_on():
  # 10 test images of class 0 for 50, 30 and 20 training images, 5 of class 1 for 0, 1 and 4.
  labels = np.repeat([0, 1], [10, 5])
  hands = official_test.deal(labels, np.array([[50, 0], [30, 1], [20, 4]]), np.random.default_rng(0))
  assert counts(labels, hands, 2) == [[5, 0], [3, 1], [2, 4]]
  assert sorted(np.concatenate(hands)) == list(range(15))


def test_what_rounding_leaves_goes_to_the_largest_remainders():
  # 7 images for 5, 3 and 2: 3.5, 2.1 and 1.4, so the first has the one that is left.
  for seed in range(10):
    hands = official_test.deal(np.zeros(7, int), np.array([[5], [3], [2]]), np.random.default_rng(seed))
    assert [len(hand) for hand in hands] == [4, 2, 1]


def test_ties_and_images_are_drawn():
  drawn = [official_test.deal(np.zeros(6, int), np.ones((4, 1), int), np.random.default_rng(s)) for s in range(200)]
  sizes = np.array([[len(hand) for hand in hands] for hands in drawn])
  assert set(sizes.ravel()) == {1, 2}
  assert set(sizes.sum(axis=1)) == {6}
  assert sizes.mean(axis=0) == pytest.approx([1.5] * 4, abs=0.15)
  assert {hands[0][0] for hands in drawn} == set(range(6))


def test_a_class_that_nobody_trains_on_goes_by_the_sizes_of_clients():
  labels = np.repeat([0, 1], [4, 4])
  hands = official_test.deal(labels, np.array([[3, 0], [1, 0]]), np.random.default_rng(0))
  assert counts(labels, hands, 2) == [[3, 3], [1, 1]]


def test_large_counts_stay_exact():
  hands = official_test.deal(np.zeros(100_000, int), np.array([[3_000_000], [1_000_000]]), np.random.default_rng(0))
  assert [len(hand) for hand in hands] == [75_000, 25_000]


LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5, dtype=np.int32), 40))
TRAIN = base.Examples(np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1), LABELS)
TEST = base.Examples(np.arange(200, 250, dtype=np.uint8).reshape(50, 1, 1, 1), np.repeat(np.arange(5), 10))


def federate(data_seed=0, num_classes=6):
  return official_test.federate(
    'made',
    TRAIN,
    TEST,
    num_classes=num_classes,
    inputs=Inputs('images'),
    source='here',
    data_seed=data_seed,
    partition=PARTITIONS['dirichlet'](dirichlet_alpha=0.1),
    num_clients=10,
  )


def test_the_federation_has_every_image_once_where_it_belongs():
  dataset = federate()
  x, y = dataset.train.examples
  assert x.dtype == np.uint8
  assert sorted(x.ravel()) == list(range(200))
  assert np.array_equal(y, LABELS[x.ravel()])
  x, y = dataset.test.examples
  assert sorted(x.ravel()) == list(range(200, 250))
  assert np.array_equal(y, TEST.y[x.ravel() - 200])
  assert dataset.num_classes == 6
  assert dataset.inputs.kind == 'images'


def test_clients_are_tested_on_what_they_train_on():
  dataset = federate()
  for k in range(10):
    train, test = (np.bincount(split.client(k).y, minlength=5) for split in (dataset.train, dataset.test))
    assert np.all(np.abs(test - train / 4) < 1)  # 10 of each class for 40


def test_the_data_seed_selects_the_split():
  first, again, other = federate(), federate(), federate(data_seed=1)
  assert first.fingerprint == again.fingerprint
  assert first.fingerprint != other.fingerprint
