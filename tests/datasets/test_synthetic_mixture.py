# SPDX-License-Identifier: Apache-2.0
import importlib

import numpy as np
import pytest

from fedprox_tff.core import streams
from fedprox_tff.core.errors import DataError, UserError
from tests.federations import load

MODULE = importlib.import_module('fedprox_tff.datasets.synthetic_mixture')  # its name in the package is the factory's


@pytest.fixture(scope='module', params=['meant', 'coded'])
def many(request):
  dataset = load('synthetic_mixture', mixture_labels=request.param, num_clients=800, test_examples=40)
  return request.param, dataset


def test_the_share_of_ones(many):
  labels, dataset = many
  # As coded half of E[max pi] = .7313, by 10^6 draws; over 800 clients the mean of max(pi) / 2 deviates by .003.
  expected = {'meant': 0.5, 'coded': 0.3657}[labels]
  assert dataset.test.examples.y.mean() == pytest.approx(expected, abs=0.013)
  assert set(np.unique(dataset.test.examples.y)) == {0, 1}


def test_sizes(many):
  _, dataset = many
  sizes = dataset.train.sizes
  assert sizes.min() == 50
  assert sizes.max() == 1000
  assert np.mean(sizes == 1000) == pytest.approx(0.077, abs=0.03)  # P(LogNormal(4, 2) >= 950)
  assert sizes.mean() == pytest.approx(MODULE.MEAN_SIZE, abs=40)
  assert set(dataset.test.sizes) == {40}


def test_features_are_uniform_on_a_cube(many):
  _, dataset = many
  x = dataset.test.examples.x
  assert x.shape == (32_000, 150)
  assert x.dtype == np.float32
  assert np.abs(x).max() <= 1
  assert np.allclose(x.mean(axis=0), 0, atol=0.015)
  assert np.allclose(x.var(axis=0), 1 / 3, atol=0.008)


def test_components_by_hand():
  counts = np.array([2, 4, 1])
  assert MODULE.components(counts, as_meant=True).tolist() == [0, 0, 1, 1, 1, 1, 2]
  # Rows 0 to 1 by component 0, then rows 0 to 3 by 1, then row 0 by 2; nothing ever reaches the others.
  assert MODULE.components(counts, as_meant=False).tolist() == [2, 1, 1, 1, -1, -1, -1]


def agreement(theta, x, y):
  """The share of labels that each component gives, but for the noise, .1 against a deviation of 150^.5 / 3 = 4.1."""
  return np.mean((x @ theta.T > 0) == y[:, np.newaxis], axis=0)


def test_a_components_share_of_labels_is_its_share_of_a_client():
  dataset = load('synthetic_mixture', data_seed=4, num_clients=30, test_examples=2000)
  theta = streams.generator('data', 4).uniform(-1, 1, (3, 150))
  directions = theta / np.linalg.norm(theta, axis=1, keepdims=True)
  alike = 1 - np.arccos(np.clip(directions @ directions.T, -1, 1)) / np.pi  # labels that two components give alike
  for client in range(30):
    pi = streams.generator('data', 4, client + 1).dirichlet([0.4] * 3)
    np.testing.assert_allclose(agreement(theta, *dataset.test.client(client)), alike @ pi, atol=0.05)


def test_as_coded_a_label_without_a_component_is_zero():
  coded = load('synthetic_mixture', data_seed=4, num_clients=30, test_examples=2000, mixture_labels='coded')
  for client in range(30):
    pi = streams.generator('data', 4, client + 1).dirichlet([0.4] * 3)
    assert coded.test.client(client).y.mean() == pytest.approx(max(pi) / 2, abs=0.05)


def test_a_client_depends_on_the_seed_and_its_number_alone():
  few, many, other = (
    load('synthetic_mixture', data_seed=seed, num_clients=clients, test_examples=test_examples)
    for seed, clients, test_examples in ((5, 3, 10), (5, 9, 20), (6, 3, 10))
  )
  end = few.train.offsets[3]
  assert np.array_equal(few.train.examples.x, many.train.examples.x[:end])
  assert np.array_equal(few.train.examples.y, many.train.examples.y[:end])
  assert not np.array_equal(few.train.client(0).x[:40], other.train.client(0).x[:40])
  assert not np.array_equal(few.train.client(0).x[:40], few.train.client(1).x[:40])


def test_the_labels_alone_differ():
  meant, coded = (load('synthetic_mixture', num_clients=5, mixture_labels=labels) for labels in ('meant', 'coded'))
  assert np.array_equal(meant.train.client(0).x, coded.train.client(0).x)
  assert not np.array_equal(meant.train.examples.y, coded.train.examples.y)


def test_defaults_are_those_of_federatedscope():
  source = MODULE.synthetic_mixture()
  assert (source.num_clients, source.learning_rate) == (300, 0.1)
  assert 'coded' in MODULE.synthetic_mixture(mixture_labels='coded').title


def test_more_clients_than_memory_are_refused():
  with pytest.raises(DataError, match=r'--num_clients=1000000000: .* GiB are free, enough for [\d,]+ clients'):
    load('synthetic_mixture', num_clients=10**9)


def test_ranges_are_checked():
  for flag, value in (('test_examples', 0), ('num_clients', 0), ('mixture_labels', 'wrong')):
    with pytest.raises(UserError, match=f'--{flag}'):
      load('synthetic_mixture', **{flag: value})
