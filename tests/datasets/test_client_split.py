# SPDX-License-Identifier: Apache-2.0
import hashlib

import numpy as np
import pytest

from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import base


def test_a_client_is_its_slice_of_the_examples():
  clients = [base.Examples(np.full((n, 3), k, np.float64), np.full(n, k)) for k, n in enumerate((2, 0, 4))]
  split = base.split_from_clients(clients)
  assert split.offsets.tolist() == [0, 2, 2, 6]
  assert split.sizes.tolist() == [2, 0, 4]
  assert (split.examples.x.dtype, split.examples.y.dtype) == (np.float32, np.int32)
  for k, client in enumerate(clients):
    assert np.array_equal(split.client(k).x, client.x)
    assert np.array_equal(split.client(k).y, client.y)


def test_an_empty_split_is_written_through_its_clients():
  split = base.empty_split(np.array([1, 3]), (2, 2))
  for k in range(2):
    split.client(k).x[:] = k
    split.client(k).y[:] = 10 * k
  assert split.examples.x.shape == (4, 2, 2)
  assert split.examples.x[:, 0, 0].tolist() == [0, 1, 1, 1]
  assert split.examples.y.tolist() == [0, 10, 10, 10]


@pytest.mark.parametrize('sizes', [[1, 3], [50], [0, 7]])
def test_arrays_begin_where_tensorflow_shares_them(sizes):
  clients = [base.Examples(np.ones((n, 3), np.float32), np.ones(n, np.int32)) for n in sizes]
  for split in (base.empty_split(np.array(sizes), (3,)), base.split_from_clients(clients)):
    for array in split.examples:
      assert array.ctypes.data % base.ALIGNMENT == 0
      assert array.flags.c_contiguous and array.flags.writeable


def test_nine_tenths_rounded_down_are_for_training():
  sizes = np.arange(2, 10_000)
  assert base.train_size(sizes).tolist() == [int(0.9 * n) for n in sizes]
  assert np.all(base.train_size(sizes) >= 1)
  assert np.all(base.train_size(sizes) < sizes)


def test_clients_are_named_as_by_the_authors():
  assert base.client_ids(11)[::10] == ('f_00000', 'f_00010')


def fingerprint(x, **values):
  split = base.split_from_clients([base.Examples(np.asarray(x), np.zeros(len(x), np.int32))])
  return base.FederatedDataset('made', ('a',), split, split, 1, 'made', **values).fingerprint


def test_a_fingerprint_is_of_all_that_a_network_reads():
  """Examples with the same bytes are others if they are of another type or shape; so are other vectors of words."""
  words = [np.float32([[0, 0], [1, number]]) for number in (2, 3)]
  of_words = [fingerprint(np.uint8([[1, 0]]), inputs=Inputs('tokens', 2, vectors=vectors)) for vectors in words]
  x = np.uint8([[1, 0], [1, 0]])
  others = [
    fingerprint(x),
    fingerprint(x.view(np.int16)),
    fingerprint(x.reshape(2, 2, 1)),
    fingerprint(x.view(np.int8)),
  ]
  assert len({*of_words, *others}) == 6
  assert fingerprint(x.copy()) == others[0]


def test_fingerprints_of_runs_before_other_types_were_there_stay():
  """Those of floats have no word on their type: runs that began before go on."""
  x = np.float32([[1, 2], [3, 4]])
  digest = hashlib.blake2b(digest_size=16)
  for _ in range(2):  # for training and for testing
    for array in (np.int64([0, 2]), np.zeros(2, np.int32), x):
      digest.update(array.data)
  assert fingerprint(x) == digest.hexdigest()
