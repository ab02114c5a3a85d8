# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.datasets import DATASETS
from tests import federations

RNG = np.random.default_rng(0)
CLIENT = RNG.permutation(np.repeat([7, 3, 12], [20, 11, 2]))  # clients 3, 7 and 12 of 11, 20 and 2 examples
X = RNG.normal(size=(33, 4))
Y = np.arange(33) % 5
ARRAYS = {'x': X, 'y': Y, 'client': CLIENT}
TEST = {'x_test': X[:4] + 1, 'y_test': Y[:4] + 3, 'client_test': np.array([12, 3, 12, 12])}


@pytest.fixture
def load(tmp_path):
  """Returns a function that writes arrays to a file and loads it."""

  def write_and_load(**arrays):
    path = tmp_path / 'mine.npz'
    np.savez(path, **arrays)
    return federations.load('npz', npz_file=str(path), name='mine')

  return write_and_load


@pytest.mark.parametrize('names', [lambda k: k, lambda k: np.array([f'c{i:02d}' for i in k])], ids=['numbers', 'text'])
def test_without_a_test_part_each_client_is_cut_in_the_order_of_the_file(load, names):
  dataset = load(x=X, y=Y, client=names(CLIENT))
  assert dataset.client_ids == tuple(map(str, names(np.array([3, 7, 12]))))
  assert dataset.train.sizes.tolist() == [9, 18, 1]
  assert dataset.test.sizes.tolist() == [2, 2, 1]
  for k, name in enumerate([3, 7, 12]):
    rows = np.flatnonzero(name == CLIENT)
    n = 9 * len(rows) // 10
    for split, mine in ((dataset.train, rows[:n]), (dataset.test, rows[n:])):
      assert np.allclose(split.client(k).x, X[mine], rtol=1e-6)
      assert split.client(k).y.tolist() == Y[mine].tolist()
  assert dataset.train.examples.x.dtype == np.float32
  assert dataset.num_classes == 5
  assert dataset.inputs.kind == 'features'
  assert dataset.source.endswith('mine.npz')


def test_a_test_part_is_taken_as_it_is(load):
  dataset = load(**ARRAYS, **TEST, more=np.zeros(3))
  assert dataset.train.sizes.tolist() == [11, 20, 2]
  assert dataset.test.sizes.tolist() == [1, 0, 3]
  assert np.allclose(dataset.test.client(2).x, X[[0, 2, 3]] + 1, rtol=1e-6)
  assert dataset.test.client(2).y.tolist() == [3, 5, 6]
  assert dataset.num_classes == 7


def test_bytes_stay_bytes_and_are_scaled_in_the_graph(load):
  import tensorflow as tf

  images = RNG.integers(0, 256, (33, 6, 5)).astype(np.uint8)
  dataset = load(**ARRAYS | {'x': images})
  assert dataset.train.examples.x.dtype == np.uint8
  assert dataset.input_shape == dataset.task.input_shape == (6, 5, 1)
  assert dataset.inputs.kind == 'images'
  prepared = dataset.inputs.prepare(tf.constant([[[[0], [51], [255]]]], tf.uint8)).numpy()
  assert prepared.dtype == np.float32
  assert prepared.ravel() == pytest.approx([0, 0.2, 1])
  assert load(**ARRAYS | {'x': images.reshape(33, 30)}).inputs.kind == 'features'


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64, np.int64, np.int8, np.uint16, bool])
def test_other_numbers_become_floats(load, dtype):
  x = RNG.integers(0, 2, (33, 2, 2, 3)).astype(dtype)
  dataset = load(**ARRAYS | {'x': x})
  assert dataset.train.examples.x.dtype == np.float32
  assert dataset.inputs.prepare is None
  assert dataset.inputs.kind == 'images'
  assert dataset.train.examples.x.sum() + dataset.test.examples.x.sum() == x.sum()


def test_signed_and_unsigned_clients_are_the_same(load):
  dataset = load(**ARRAYS, **TEST | {'client_test': TEST['client_test'].astype(np.uint8)})
  assert dataset.test.sizes.tolist() == [1, 0, 3]


@pytest.mark.parametrize(
  ('arrays', 'match'),
  [
    ({'x': X, 'y': Y}, r'has no array client; it has x, y\.'),
    ({}, r'has no array x, y, client; it has none\.'),
    ({**ARRAYS, 'x_test': X}, 'has no array y_test, client_test: all three of a test part, or none'),
    (ARRAYS | {'x': np.full((33, 2), 'a')}, ': x is text; numbers are needed'),
    (ARRAYS | {'x': X + 1j}, ': x has the type complex128; real numbers'),
    (ARRAYS | {'x': np.array([{}] * 33)}, 'cannot be read'),
    (ARRAYS | {'x': X[:, 0]}, r': x has the shape \(33,\)'),
    (ARRAYS | {'x': X[:, :0]}, r': x has the shape \(33, 0\)'),
    ({name: array[:0] for name, array in ARRAYS.items()}, r': x has the shape \(0, 4\)'),
    (ARRAYS | {'x': X[:30]}, '30 x, 33 y and 33 client; as many of each'),
    (ARRAYS | {'y': Y[:30]}, '33 x, 30 y and 33 client; as many of each'),
    (ARRAYS | {'client': CLIENT[:30]}, '33 x, 33 y and 30 client; as many of each'),
    (ARRAYS | {'y': np.eye(33, dtype=int)}, ': y is not one whole number for each'),
    (ARRAYS | {'y': Y / 2}, ': y is not one whole number for each'),
    (ARRAYS | {'y': Y - 1}, ': y has the label -1; 0 to 99999'),
    (ARRAYS | {'y': Y + 10**6}, ': y has the label 1000004; 0 to 99999'),
    (ARRAYS | {'client': CLIENT / 2}, ': client is not a whole number or text'),
    (ARRAYS | {'x': np.where(X > 2, np.nan, X)}, ': x has numbers that are not finite'),
    (ARRAYS | {'x': np.where(X > 2, -np.inf, X)}, ': x has numbers that are not finite'),
    (ARRAYS | {'x': np.where(X > 2, 1e39, X)}, r'or beyond 3\.4e\+38'),
    (ARRAYS | {'client': np.arange(33) // 32}, ': 1 in client has one example, and needs one to train on'),
    (ARRAYS | TEST | {'client_test': np.array([3, 4, 7, 3])}, ': 4 is in client_test and not in client'),
    (ARRAYS | TEST | {'client_test': np.array(['3'] * 4)}, 'client and client_test are not both text'),
    (ARRAYS | TEST | {'x_test': X[:4, :3]}, r'x_test has examples of float32 \(3,\), x of float32 \(4,\)'),
    (
      ARRAYS | TEST | {'x_test': np.zeros((4, 4), np.uint8)},
      r'x_test has examples of uint8 \(4,\), x of float32 \(4,\)',
    ),
    (ARRAYS | TEST | {'y_test': np.array([0, 1, 2, -5])}, ': y_test has the label -5'),
  ],
)
def test_what_is_wrong_is_said_in_one_line(load, arrays, match):
  with pytest.raises(DataError, match=f'mine.npz.*{match}') as error:
    load(**arrays)
  assert '\n' not in str(error.value)


def test_what_is_no_file_of_arrays_is_refused_by_name(tmp_path):
  path = tmp_path / 'mine.npz'
  np.savez(path, **ARRAYS)
  whole = path.read_bytes()
  np.save(tmp_path / 'one.npy', X)
  one = (tmp_path / 'one.npy').read_bytes()
  for damaged in (b'', b'hello', whole[:-100], whole[:300] + bytes(500) + whole[800:], one):
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r'mine\.npz cannot be read as a \.npz file of arrays') as error:
      DATASETS['npz'](npz_file=str(path)).load(None)
    assert 'pickle' not in str(error.value)  # numpy takes whatever it does not know for one
    assert 'protocol' not in str(error.value)


def test_without_a_file_it_is_asked_for(tmp_path):
  assert DATASETS['npz']().missing == '--dataset=npz needs --npz_file, a file of the arrays x, y and client.'
  with pytest.raises(UserError, match='--dataset=npz needs --npz_file'):
    federations.load('npz')
  with pytest.raises(UserError, match=r'--npz_file=.*nothing.npz is not a file\.') as error:
    DATASETS['npz'](npz_file=str(tmp_path / 'nothing.npz')).load(None)
  assert not isinstance(error.value, DataError)  # which --fallback_dataset would swallow


def test_is_called_as_its_file():
  source = DATASETS['npz'](npz_file='/some/where/hospitals.npz')
  assert (source.title, source.folder, source.num_clients) == ('hospitals', 'hospitals', None)
