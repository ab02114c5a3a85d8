# SPDX-License-Identifier: Apache-2.0
import pathlib
import subprocess
import sys

import pytest

import fedprox_tff
from fedprox_tff.datasets import DATASETS, PARTITIONS
from tests.federations import load


def test_importing_the_data_sets_imports_numpy_alone():
  code = 'import sys, fedprox_tff.datasets; print(*sys.modules)'
  root = pathlib.Path(fedprox_tff.__file__).parents[1]
  ran = subprocess.run([sys.executable, '-c', code], cwd=root, check=True, capture_output=True, text=True)
  modules = ran.stdout.split()
  assert 'fedprox_tff.datasets.mnist' in modules
  assert not {'tensorflow', 'tensorflow_federated', 'keras', 'sklearn', 'scipy', 'pandas'} & set(modules)


@pytest.mark.parametrize('name', DATASETS)
def test_the_record_of_a_data_set_says_what_a_run_takes_from_it(name):
  source = DATASETS[name]()
  assert source.name == name
  assert source.title
  assert 0 < source.learning_rate < 1
  assert source.partition is None or source.partition in PARTITIONS
  assert bool(source.missing) == (name in ('leaf', 'npz'))


@pytest.mark.parametrize('name', ['digits', 'synthetic'])
def test_a_data_set_without_files_needs_nothing_but_its_seed(name):
  dataset = load(name, data_seed=3)
  assert dataset.name == name
  assert dataset.client_ids[:2] == ('f_00000', 'f_00001')
  assert dataset.num_clients == len(dataset.train.sizes) == len(dataset.test.sizes)
  assert dataset.train.sizes.min() >= 1
  assert dataset.test.sizes.min() >= 1
