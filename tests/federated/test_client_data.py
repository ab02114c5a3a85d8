# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.client_data import ArrayClientData
from tests.federations import load


@pytest.fixture(scope='module')
def dataset():
  return load('digits', data_seed=0)


@pytest.fixture(scope='module')
def client_data(dataset):
  return ArrayClientData(dataset.client_ids, dataset.train)


def rows(tf_dataset):
  return [(element['x'], element['y']) for element in tf_dataset.as_numpy_iterator()]


def test_is_tffs_client_data(client_data, dataset):
  assert isinstance(client_data, tff.simulation.datasets.ClientData)
  assert client_data.client_ids == list(dataset.client_ids)


@pytest.mark.parametrize('index', [0, 7, 99])
def test_arrays_data_sets_and_computations_agree(client_data, dataset, index):
  client_id, expected = dataset.client_ids[index], dataset.train.client(index)
  arrays = client_data.examples(client_id)
  np.testing.assert_array_equal(arrays['x'], expected.x)
  assert np.shares_memory(arrays['x'], dataset.train.examples.x)
  for tf_dataset in (
    client_data.create_tf_dataset_for_client(client_id),
    client_data.serializable_dataset_fn(tf.constant(client_id)),
  ):
    assert tf_dataset.element_spec == client_data.element_type_structure
    xs, ys = zip(*rows(tf_dataset), strict=True)
    np.testing.assert_array_equal(xs, expected.x)
    np.testing.assert_array_equal(ys, expected.y)


def test_preprocess_is_tffs(client_data):
  doubled = client_data.preprocess(lambda ds: ds.repeat(2))
  client_id = client_data.client_ids[3]
  assert len(rows(doubled.create_tf_dataset_for_client(client_id))) == 2 * len(client_data.examples(client_id)['y'])


def test_an_unknown_client_is_named(client_data):
  with pytest.raises(ValueError, match='nobody is not among the 100 clients'):
    client_data.create_tf_dataset_for_client('nobody')
