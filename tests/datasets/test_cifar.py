# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest
from cifar_made import write

from fedprox_tff.datasets import DATASETS, cifar_files, sources
from tests.federations import load

RELEASES = {'cifar10': cifar_files.CIFAR10, 'cifar100': cifar_files.CIFAR100}
FOLDER = os.environ.get(sources.VARIABLE)


@pytest.mark.parametrize('name', RELEASES)
def test_the_training_images_go_over_clients_and_the_test_images_after_them(name, tmp_path):
  release = RELEASES[name]
  write(release, tmp_path, train_size=2 * release.num_classes, test_size=release.num_classes)
  dataset = load(name, data_dir=str(tmp_path), num_clients=5, partition='iid')
  count = 2 * release.num_classes * len(release.train)
  assert dataset.name == name
  assert dataset.train.sizes.tolist() == [count // 5] * 5
  assert np.bincount(dataset.test.examples.y).tolist() == [1] * release.num_classes
  assert dataset.num_classes == release.num_classes
  assert dataset.task.input_shape == dataset.input_shape == (32, 32, 3)
  assert dataset.train.examples.x.dtype == np.uint8
  assert str(tmp_path) in dataset.source


@pytest.mark.parametrize('name', RELEASES)
def test_an_augmentation_is_a_flag_and_stands_in_the_title(name, tmp_path):
  release = RELEASES[name]
  write(release, tmp_path, train_size=release.num_classes, test_size=1)
  dataset = load(name, data_dir=str(tmp_path), num_clients=2, partition='iid', augmentation='federatedx')
  assert dataset.task.input_shape == (24, 24, 3)
  assert dataset.input_shape == (32, 32, 3)
  assert dataset.inputs.augment is not None
  titles = [DATASETS[name](augmentation=each).title for each in ('none', 'crop_flip', 'federatedx')]
  assert titles == [release.title, f'{release.title}, crops and flips', f'{release.title}, augmented as FederatedX']


@pytest.mark.skipif(
  not (FOLDER and os.path.isdir(FOLDER) and cifar_files.find(cifar_files.CIFAR100, FOLDER)),
  reason=f'${sources.VARIABLE} names no folder with CIFAR-100',
)
def test_the_real_images_have_the_published_moments():
  dataset = load('cifar100', data_dir=FOLDER, partition='dirichlet', dirichlet_alpha=0.01)
  assert dataset.num_clients == 100
  assert np.bincount(dataset.train.examples.y).min() == np.bincount(dataset.train.examples.y).max()
  prepared = dataset.inputs.prepare(dataset.train.examples.x[::5]).numpy()
  assert np.abs(prepared.mean(axis=(0, 1, 2), dtype=np.float64)).max() < 0.03
  assert np.abs(prepared.std(axis=(0, 1, 2), dtype=np.float64) - 1).max() < 0.03
  held = [len(set(dataset.train.client(k).y)) for k in range(100)]
  assert np.mean(held) < 10
