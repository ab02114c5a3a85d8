# SPDX-License-Identifier: Apache-2.0
"""Shards: what the worker reads from files is what it would have been sent."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedprox
from fedprox_tff.core.task import Task
from fedprox_tff.datasets.base import Examples, split_from_clients
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.runtimes.client_files import Shards
from fedprox_tff.models import logistic
from tests.federations import load

EMPTY = 1


@pytest.fixture(scope='module')
def split():
  train = load('digits', data_seed=0).train
  clients = [train.client(k) for k in range(4)]
  clients[EMPTY] = Examples(clients[EMPTY].x[:0], clients[EMPTY].y[:0])
  return split_from_clients(clients)


def made_split(num_examples):
  """Returns one client's examples of the shape of MNIST."""
  return split_from_clients([Examples(np.ones((num_examples, 28, 28, 1), np.float32), np.ones(num_examples, np.int32))])


def graph_of(dataset):
  """Returns what TFF sends of a data set."""
  return tf.raw_ops.DatasetToGraphV2(input_dataset=tf.data.experimental.to_variant(dataset)).numpy()


@pytest.mark.parametrize('client', range(4))
def test_an_element_is_a_clients_examples_in_the_models_type(split, client, tmp_path):
  expected = split.client(client)._asdict()
  spec = local_model(logistic().build(Task(split.examples.x.shape[1:], 10), seed=0)).examples_spec
  with Shards(split.examples, split.offsets, folder=tmp_path) as shards:
    dataset = shards.dataset(client)
    assert dataset.element_spec == spec
    (element,) = dataset.as_numpy_iterator()
  assert isinstance(element, collections.OrderedDict)
  for name, array in expected.items():
    assert element[name].dtype == array.dtype
    assert element[name].shape == array.shape
    assert element[name].tobytes() == array.tobytes()


def test_rounds_in_the_worker_have_the_same_bits(split):
  model = logistic().build(Task(split.examples.x.shape[1:], 10), seed=0)
  process = build_process(fedprox(mu=1.0), model, client_optimizer=tff.learning.optimizers.build_sgdm(0.03))

  def train(examples):
    state = process.initialize()
    for round_num in range(2):
      payloads = []
      for k in (0, EMPTY, 2, 3, 3):  # a client may be drawn twice, and then both read its file
        arrays = split.client(k)._asdict()
        payload = client_payload(arrays, num_epochs=2, batch_size=10, key=(0, round_num, k))
        payloads.append(collections.OrderedDict(payload, examples=examples(k, payload)))
      state, metrics = process.next(state, payloads)
    assert metrics['client_work']['num_clients'] == 4  # all but the empty one
    return [np.asarray(w) for w in process.get_model_weights(state).trainable]

  with runtimes.use('worker'), Shards(split.examples, split.offsets) as shards:
    from_arrays = train(lambda k, payload: payload['examples'])
    from_files = train(lambda k, payload: shards.dataset(k))
  assert np.abs(from_arrays[0] - model.initial_weights[0]).max() > 0.005
  assert [w.tobytes() for w in from_files] == [w.tobytes() for w in from_arrays]


def test_what_is_sent_is_small_however_much_there_is():
  sizes = []
  for num_examples in (1, 1000):
    split = made_split(num_examples)
    with Shards(split.examples, split.offsets) as shards:
      sent = graph_of(shards.dataset(0))
    assert len(sent) < 1000
    graph = tf.compat.v1.GraphDef.FromString(sent)
    for node in graph.node:  # TensorFlow numbers data sets for the whole process, and 100 is longer than 99
      node.attr.pop('metadata', None)
    sizes.append(graph.ByteSize())
  assert sizes[0] == sizes[1]


def test_what_is_sent_has_no_functions():
  """The worker would keep each of them for ever."""
  split = made_split(1)
  with Shards(split.examples, split.offsets) as shards:
    graph = tf.compat.v1.GraphDef.FromString(graph_of(shards.dataset(0)))
  assert [node.op for node in graph.node if 'Dataset' in node.op] == ['SnapshotDatasetReader', 'OptionsDataset']
  assert not graph.library.function


def test_a_client_is_written_once_when_it_is_asked_for(split, tmp_path):
  with Shards(split.examples, split.offsets, folder=tmp_path) as shards:
    (folder,) = tmp_path.iterdir()
    assert not list(folder.iterdir())
    assert shards.dataset(2) is shards.dataset(2)
    assert [path.name for path in folder.iterdir()] == ['2']


def test_the_folder_is_gone_after_the_block_and_after_an_error(split, tmp_path):
  for error in (None, RuntimeError):
    try:
      with Shards(split.examples, split.offsets, folder=tmp_path) as shards:
        shards.dataset(0)
        assert list(tmp_path.iterdir())
        if error:
          raise error
    except RuntimeError:
      pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_somebody_removed_is_an_error(split, tmp_path):
  """Never a client without examples."""
  with Shards(split.examples, split.offsets, folder=tmp_path) as shards:
    dataset = shards.dataset(0)
    for path in tmp_path.rglob('*.snapshot'):
      path.unlink()
    with pytest.raises(tf.errors.NotFoundError):
      dataset.get_single_element()
