# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.core.errors import DataError
from tests.federations import load


def test_digits_are_the_1797_of_scikit_learn_standardised():
  dataset = load('digits', data_seed=0, partition='iid')
  x = np.concatenate([dataset.train.examples.x, dataset.test.examples.x])
  assert x.shape == (1797, 8, 8, 1)
  assert dataset.num_classes == 10
  assert np.abs(x.mean(axis=0)).max() < 1e-4
  changing = x.std(axis=0) > 0
  assert changing.sum() == 61  # three corners of the digits are always blank
  assert np.all(np.abs(x.std(axis=0)[changing] - 1) < 0.05)  # a pixel of deviation 0.02 comes to 0.02 / 0.021


def test_default_split_is_the_power_law_over_100_clients():
  dataset = load('digits', data_seed=0)
  assert dataset.num_clients == 100
  for k in range(100):
    assert set(dataset.train.client(k).y) | set(dataset.test.client(k).y) == {k % 10, (k + 1) % 10}
  sizes = dataset.train.sizes + dataset.test.sizes
  assert sizes.min() >= 10
  assert 1650 < sizes.sum() < 1797
  assert dataset.paper is None


def test_digits_can_be_told_apart():
  dataset = load('digits', data_seed=0, partition='iid')
  x, y = dataset.train.examples.x.reshape(-1, 64), dataset.train.examples.y
  centers = np.array([x[y == digit].mean(axis=0) for digit in range(10)])
  distances = ((dataset.test.examples.x.reshape(-1, 1, 64) - centers) ** 2).sum(axis=2)
  assert np.mean(distances.argmin(axis=1) == dataset.test.examples.y) > 0.8


def test_too_many_clients_are_refused():
  with pytest.raises(DataError, match=r'--num_clients=1000: .* up to 170'):
    load('digits', data_seed=0, num_clients=1000)
