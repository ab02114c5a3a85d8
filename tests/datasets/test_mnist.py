# SPDX-License-Identifier: Apache-2.0
"""Of the real images: they run where $FEDPROX_DATA_DIR names a folder that has MNIST."""

import os

import numpy as np
import pytest

from fedprox_tff.datasets import mnist_files, sources
from fedprox_tff.datasets.statistics import statistics
from tests.federations import load

FOLDER = os.environ.get(sources.VARIABLE)
pytestmark = pytest.mark.skipif(
  not (FOLDER and os.path.isdir(FOLDER) and mnist_files.find(FOLDER)),
  reason=f'${sources.VARIABLE} names no folder with MNIST',
)


@pytest.fixture(scope='module')
def dataset():
  return load('mnist', data_dir=FOLDER, data_seed=0)


def test_is_the_federation_of_the_paper(dataset):
  ours = statistics(dataset)
  assert dataset.paper == (1000, 69035, 69, 106)
  assert ours.devices == 1000
  assert 69_000 <= ours.samples <= 69_130
  assert round(ours.mean) == 69
  assert 110 < ours.stdev < 300
  assert dataset.input_shape == (28, 28, 1)
  assert dataset.num_classes == 10
  assert 'sha256 verified' in dataset.source


def test_clients_hold_two_digits_and_train_on_nine_tenths(dataset):
  sizes = dataset.train.sizes + dataset.test.sizes
  assert dataset.train.sizes.tolist() == [int(0.9 * n) for n in sizes]
  for k in range(0, 1000, 37):
    assert set(dataset.train.client(k).y) | set(dataset.test.client(k).y) == {k % 10, (k + 1) % 10}


def test_raw_pixels_are_standardised_over_all_70_000_images():
  dataset = load('mnist', data_dir=FOLDER, data_seed=0, partition='iid')
  x = np.concatenate([dataset.train.examples.x, dataset.test.examples.x])[..., 0]
  pixels, _, _ = mnist_files.read(FOLDER)
  deviation = pixels.std(axis=0, dtype=np.float64)
  assert len(x) == 70_000
  assert np.abs(x.mean(axis=0, dtype=np.float64)).max() < 1e-4
  assert np.allclose(x.std(axis=0, dtype=np.float64), deviation / (deviation + 0.001), atol=1e-4)
  assert dataset.paper is None


def test_images_lie_beside_their_labels(dataset):
  # A 1 is less ink than a 0: sums of standardised pixels over the middle 12 x 12, far apart in truth.
  ink = dataset.train.examples.x[:, 8:20, 8:20].sum(axis=(1, 2, 3))
  edge = dataset.train.examples.x[:, 12:16, 13:15].sum(axis=(1, 2, 3))
  y = dataset.train.examples.y
  assert ink[y == 1].mean() < ink[y == 8].mean()
  assert edge[y == 0].mean() < edge[y == 1].mean() - 4
