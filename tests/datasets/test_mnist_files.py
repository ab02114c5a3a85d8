# SPDX-License-Identifier: Apache-2.0
"""The real files are too large for here: a tiny MNIST of ten images stands in for them, with checksums of its own."""

import gzip
import hashlib
import socket
import struct
import sys
import types

import numpy as np
import pytest

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.datasets import mnist_files, sources

RNG = np.random.default_rng(0)
X_TRAIN, X_TEST = (RNG.integers(0, 256, (n, 28, 28)).astype(np.uint8) for n in (7, 3))
Y_TRAIN, Y_TEST = (RNG.integers(0, 10, n).astype(np.uint8) for n in (7, 3))
CONTENTS = {
  'train-images-idx3-ubyte': struct.pack('>4i', 2051, 7, 28, 28) + X_TRAIN.tobytes(),
  'train-labels-idx1-ubyte': struct.pack('>2i', 2049, 7) + Y_TRAIN.tobytes(),
  't10k-images-idx3-ubyte': struct.pack('>4i', 2051, 3, 28, 28) + X_TEST.tobytes(),
  't10k-labels-idx1-ubyte': struct.pack('>2i', 2049, 3) + Y_TEST.tobytes(),
}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
ARRAYS = {'x_train': X_TRAIN, 'y_train': Y_TRAIN, 'x_test': X_TEST, 'y_test': Y_TEST}


pytestmark = pytest.mark.usefixtures('places')


@pytest.fixture
def keras(monkeypatch):
  """Sets what Keras does to download MNIST to a path."""

  def serve(load_data):
    dataset = types.SimpleNamespace(load_data=load_data)
    fake = types.SimpleNamespace(keras=types.SimpleNamespace(datasets=types.SimpleNamespace(mnist=dataset)))
    monkeypatch.setitem(sys.modules, 'tensorflow', fake)

  return serve


def write_npz(path, arrays=ARRAYS):
  with open(path, 'wb') as file:  # numpy would add an ending to a path
    np.savez(file, **arrays)


def write_idx(folder, rename=lambda name: name):
  folder.mkdir(exist_ok=True)
  for name, content in CONTENTS.items():
    target = rename(name)
    (folder / target).write_bytes(gzip.compress(content) if target.endswith('.gz') else content)


def assert_is_mnist(images, labels):
  assert images.dtype == np.uint8
  assert np.array_equal(images, np.concatenate([X_TRAIN, X_TEST]))
  assert np.array_equal(labels, np.concatenate([Y_TRAIN, Y_TEST]))


def refused(folder, match):
  with pytest.raises(DataError, match=match) as error:
    mnist_files.read(str(folder), SHA256)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('end', ['', '.gz'])
@pytest.mark.parametrize('infix', ['-idx', '.idx'])
def test_reads_idx_files_in_all_their_spellings(places, end, infix):
  write_idx(places[0], lambda name: name.replace('-idx', infix) + end)
  images, labels, source = mnist_files.read(str(places[0]), SHA256)
  assert_is_mnist(images, labels)
  assert source == f'{places[0]}, sha256 verified'


def test_reads_the_npz_of_keras(places):
  np.savez(places[0] / 'mnist.npz', **ARRAYS)
  images, labels, source = mnist_files.read(str(places[0]), SHA256)
  assert_is_mnist(images, labels)
  assert source == f'{places[0]}/mnist.npz, sha256 verified'


def test_looks_in_the_flag_then_the_variable_then_the_cache(places):
  assert mnist_files.locate(None) is None
  for folder in reversed(places):
    write_idx(folder / 'mnist')
    assert mnist_files.locate(str(places[0])) == str(folder / 'mnist')
    write_idx(folder)
    assert mnist_files.locate(str(places[0])) == str(folder)
  assert mnist_files.locate(None) == str(places[1])


def test_the_cache_is_in_the_home_folder_without_xdg(places, monkeypatch, tmp_path):
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', str(tmp_path))
  assert sources.cache_dir() == f'{tmp_path}/.cache/fedprox_tff'


def test_an_incomplete_set_is_passed_over(places):
  write_idx(places[0])
  (places[0] / 't10k-labels-idx1-ubyte').unlink()
  write_idx(places[1])
  assert mnist_files.locate(str(places[0])) == str(places[1])


def test_a_data_dir_that_is_not_there_is_refused(places):
  write_idx(places[1])
  with pytest.raises(UserError, match=r'--data_dir=.*nowhere is not a folder') as error:
    mnist_files.read(str(places[0] / 'nowhere'))
  assert not isinstance(error.value, DataError)  # which --fallback_dataset would swallow


@pytest.mark.parametrize('name', CONTENTS)
def test_an_idx_file_that_is_not_the_published_one_is_refused_by_name(places, name):
  content = CONTENTS[name]
  wrong = {
    'cut short': content[:-1],
    'longer': content + b'0',
    'another magic number': b'\0\0\x08\x02' + content[4:],
    'one pixel changed': content[:-1] + bytes([content[-1] ^ 1]),
    'empty': b'',
  }
  for damaged in wrong.values():
    write_idx(places[0])
    (places[0] / name).write_bytes(damaged)
    refused(places[0], f'flag/{name} is not the published file of MNIST')


def test_a_damaged_gzip_file_is_refused_by_name(places):
  whole = gzip.compress(CONTENTS['train-images-idx3-ubyte'])
  wrong = {
    'cut short': whole[:-100],
    'cut in its header': whole[:5],
    'not gzip': CONTENTS['train-images-idx3-ubyte'],
    'damaged inside': whole[:50] + bytes(50) + whole[100:],
    'damaged at the end': whole[:-8] + bytes(8),
    'other content': gzip.compress(b'hello'),
    'empty': b'',
  }
  for damaged in wrong.values():
    write_idx(places[0], lambda name: name + '.gz')
    (places[0] / 'train-images-idx3-ubyte.gz').write_bytes(damaged)
    refused(places[0], r'flag/train-images-idx3-ubyte.gz (cannot be read|is not the published)')


def test_a_damaged_npz_is_refused_by_name(places):
  path = places[0] / 'mnist.npz'
  np.savez(path, **ARRAYS)
  whole = path.read_bytes()
  for damaged in (b'', b'hello', whole[:-100], whole[:3000] + bytes(100) + whole[3100:]):
    path.write_bytes(damaged)
    refused(places[0], r'flag/mnist.npz(, x_train,)? (cannot be read|is not the published)')


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    (ARRAYS | {'y_test': Y_TEST + 1}, r'mnist.npz, y_test, is not the published file'),
    (ARRAYS | {'x_train': X_TRAIN.reshape(7, 784)}, r'mnist.npz, x_train, is not the published file'),
    (ARRAYS | {'y_train': Y_TRAIN.astype(np.int64)}, r'mnist.npz, y_train, is not the published file'),
    (ARRAYS | {'y_train': np.array([{}] * 7)}, 'cannot be read'),
    ({'x_train': X_TRAIN}, 'cannot be read'),
  ],
)
def test_an_npz_of_other_arrays_is_refused(places, arrays, message):
  np.savez(places[0] / 'mnist.npz', **arrays)
  refused(places[0], message)


def test_downloads_to_the_cache_once(places, keras):
  calls = []
  keras(lambda path: (calls.append(path), write_npz(path)))
  for _ in range(2):
    images, labels, source = mnist_files.read(str(places[0]), SHA256)
    assert_is_mnist(images, labels)
    assert source == f'{places[2]}/mnist.npz, sha256 verified'
  assert len(calls) == 1
  assert [path.name for path in places[2].iterdir()] == ['mnist.npz']


def test_without_a_network_the_ways_out_are_named(places, keras):
  timeouts = []

  def load_data(path):
    timeouts.append(socket.getdefaulttimeout())
    with open(path, 'wb') as file:
      file.write(b'the first part')
    raise Exception('URL fetch failure')  # as Keras does

  keras(load_data)
  with pytest.raises(DataError) as error:
    mnist_files.read(None, SHA256)
  for part in ('URL fetch failure', '--data_dir', '$FEDPROX_DATA_DIR', '--dataset=digits'):
    assert part in str(error.value)
  assert list(places[2].iterdir()) == []
  assert timeouts == [sources.TIMEOUT]
  assert socket.getdefaulttimeout() is None


def test_a_download_of_something_else_is_not_kept(places, keras):
  keras(lambda path: write_npz(path, ARRAYS | {'x_test': X_TEST[::-1]}))
  refused(places[0], 'x_test, is not the published file of MNIST')
  assert list(places[2].iterdir()) == []
