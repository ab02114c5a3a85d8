# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.datasets import images
from fedprox_tff.datasets.partitions import PARTITIONS

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 10, 1000)
PIXELS = RNG.integers(0, 256, (1000, 4, 3)).astype(np.uint8)
PIXELS[:, 0, 0] = 7  # a pixel that never changes
PIXELS[:, 0, 1] = 20 * LABELS  # one that tells the label
PIXELS[:, 0, 2] = np.arange(1000) % 250  # two that tell the row
PIXELS[:, 1, 0] = np.arange(1000) // 250


def federate(partition='iid', *, data_seed=0, num_clients=30, **arguments):
  options = {'source': 'here', 'data_seed': data_seed, 'num_clients': num_clients}
  options['partition'] = PARTITIONS[partition](**arguments)
  return images.federate('pool', PIXELS, LABELS, **options)


def both(dataset):
  """All x, all y and the numbers of the rows that they come from, training examples before test examples."""
  x = np.concatenate([dataset.train.examples.x, dataset.test.examples.x])
  y = np.concatenate([dataset.train.examples.y, dataset.test.examples.y])
  mean, scale = images.moments(PIXELS)
  pixels = np.rint(x[..., 0] * scale + mean).astype(int)
  return x, y, pixels[:, 0, 2] + 250 * pixels[:, 1, 0]


def test_moments_are_those_of_the_pixels():
  mean, scale = images.moments(PIXELS)
  assert np.allclose(mean, PIXELS.astype(float).mean(axis=0), rtol=1e-6)
  assert np.allclose(scale, PIXELS.astype(float).std(axis=0) + 0.001, rtol=1e-6)
  assert (mean[0, 0], scale[0, 0]) == (7.0, np.float32(0.001))


def test_every_pixel_is_standardised_over_the_whole_pool():
  x, _, _ = both(federate())
  deviation = PIXELS.astype(float).std(axis=0)
  assert x.shape == (1000, 4, 3, 1)
  assert x.dtype == np.float32
  assert np.abs(x.mean(axis=0)).max() < 1e-4
  assert np.allclose(x.std(axis=0)[..., 0], deviation / (deviation + 0.001), atol=1e-5)
  assert np.all(x[:, 0, 0] == 0)


def test_every_image_is_there_once_with_its_label():
  _, y, rows = both(federate())
  assert sorted(rows) == list(range(1000))
  assert np.array_equal(y, LABELS[rows])
  assert y.dtype == np.int32


@pytest.mark.parametrize('partition', ['power_law', 'iid', 'shards', 'dirichlet'])
def test_each_client_trains_on_nine_tenths_rounded_down(partition):
  dataset = federate(partition=partition)
  sizes = dataset.train.sizes + dataset.test.sizes
  assert dataset.train.sizes.tolist() == [int(0.9 * n) for n in sizes]
  assert dataset.test.sizes.min() >= 1
  assert dataset.num_clients == 30


def test_the_data_seed_selects_the_split():
  first, again, other = federate(), federate(), federate(data_seed=1)
  assert np.array_equal(first.train.examples.x, again.train.examples.x)
  assert not np.array_equal(first.train.examples.x, other.train.examples.x)


def test_dirichlet_alpha_reaches_the_partition():
  def labels_per_client(alpha):
    dataset = federate(partition='dirichlet', dirichlet_alpha=alpha)
    return np.mean([len(set(dataset.train.client(k).y)) for k in range(30)])

  assert labels_per_client(0.05) < 4
  assert labels_per_client(100.0) > 8
