# SPDX-License-Identifier: Apache-2.0
import inspect
import pathlib
import subprocess
import sys

import pytest

import fedprox_tff
from fedprox_tff.datasets import DATASETS


def test_importing_the_data_sets_imports_numpy_alone():
  code = 'import sys, fedprox_tff.datasets; print(*sys.modules)'
  root = pathlib.Path(fedprox_tff.__file__).parents[1]
  ran = subprocess.run([sys.executable, '-c', code], cwd=root, check=True, capture_output=True, text=True)
  modules = ran.stdout.split()
  assert 'fedprox_tff.datasets.mnist' in modules
  assert not {'tensorflow', 'tensorflow_federated', 'keras', 'sklearn', 'scipy', 'pandas'} & set(modules)


@pytest.mark.parametrize(
  ('name', 'flags'),
  [
    ('mnist', ['data_dir', 'data_seed', 'partition', 'num_clients', 'dirichlet_alpha']),
    ('digits', ['data_seed', 'partition', 'num_clients', 'dirichlet_alpha']),
    ('synthetic', ['data_seed', 'synthetic_alpha', 'synthetic_beta', 'synthetic_iid', 'num_clients']),
    ('leaf', ['data_dir']),
  ],
)
def test_a_loader_takes_the_flags_of_its_data_set_by_name(name, flags):
  parameters = inspect.signature(DATASETS[name]).parameters.values()
  assert [parameter.name for parameter in parameters] == flags
  assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)


@pytest.mark.parametrize('name', ['digits', 'synthetic'])
def test_a_data_set_without_files_needs_nothing_but_its_seed(name):
  dataset = DATASETS[name](data_seed=3)
  assert dataset.name == name
  assert dataset.client_ids[:2] == ('f_00000', 'f_00001')
  assert dataset.num_clients == len(dataset.train.sizes) == len(dataset.test.sizes)
  assert dataset.train.sizes.min() >= 1
  assert dataset.test.sizes.min() >= 1
