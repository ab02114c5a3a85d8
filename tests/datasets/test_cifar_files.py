# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
import os
import pickle
import tarfile
import urllib.request

import numpy as np
import pytest
from cifar_made import batch, write

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.datasets import cifar_files
from fedprox_tff.datasets.cifar_files import CIFAR10, CIFAR100


def as_images(content):
  """Channel-major rows of 3,072 as [n, 32, 32, 3], one value at a time."""
  rows = content[b'data']
  x = np.empty((len(rows), 32, 32, 3), np.uint8)
  for channel in range(3):
    for row in range(32):
      x[:, row, :, channel] = rows[:, channel * 1024 + row * 32 : channel * 1024 + row * 32 + 32]
  return x


def archived(release, folder, tmp_path):
  path = tmp_path / release.archive
  with tarfile.open(path, 'w:gz') as archive:
    archive.add(folder, arcname=release.folder)
  return path.read_bytes()


def refused(folder, release, match):
  with pytest.raises(DataError, match=match) as error:
    cifar_files.read(release, str(folder))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('release', [CIFAR10, CIFAR100])
def test_reads_images_with_their_channels_last_and_their_labels(places, release):
  *train, test = write(release, places[0], train_size=12, test_size=7)
  (train_x, train_y), (test_x, test_y), source = cifar_files.read(release, str(places[0]))
  assert np.array_equal(train_x, np.concatenate([as_images(content) for content in train]))
  assert np.array_equal(test_x, as_images(test))
  assert train_y.tolist() == [label for content in train for label in content[release.labels.encode()]]
  assert test_y.tolist() == test[release.labels.encode()]
  assert train_x.dtype == test_x.dtype == np.uint8
  assert train_y.dtype == test_y.dtype == np.int32
  amount = f'{12 * len(release.train)} of 50,000 training and 7 of 10,000 test images'
  assert source == f'{places[0]}, a part of the set: {amount}'


def test_the_whole_set_is_said_to_be_whole():
  assert cifar_files._amount(50_000, 10_000) == 'the whole set, 50,000 training and 10,000 test images'
  assert 'a part of the set' in cifar_files._amount(50_000, 9_999)


def test_looks_in_the_flag_then_the_variable_then_the_cache(places):
  assert cifar_files.find(CIFAR100, None) is None
  for folder in reversed(places):
    for sub in ('cifar100/cifar-100-python', 'cifar100', 'cifar-100-python', '.'):
      write(CIFAR100, folder / sub, train_size=1, test_size=1)
      assert os.path.samefile(cifar_files.find(CIFAR100, str(places[0])), folder / sub)
  assert cifar_files.find(CIFAR10, None) is None
  with pytest.raises(UserError, match='is not a folder'):
    cifar_files.find(CIFAR100, str(places[0] / 'nothing'))


def test_an_archive_is_read_if_it_is_the_published_one(places, tmp_path):
  write(CIFAR10, tmp_path / 'made', train_size=3, test_size=2)
  content = archived(CIFAR10, tmp_path / 'made', tmp_path)
  (places[0] / CIFAR10.archive).write_bytes(content)
  refused(places[0], CIFAR10, 'is not the published file of CIFAR-10')
  made = CIFAR10._replace(sha256=hashlib.sha256(content).hexdigest())
  (x, _), (_, y), source = cifar_files.read(made, str(places[0]))
  assert len(x) == 15
  assert y.tolist() == [0, 1]
  assert source.startswith(f'{places[0] / CIFAR10.archive}, sha256 verified, a part of the set: 15 of 50,000')


def test_an_archive_without_a_file_is_refused(places, tmp_path):
  write(CIFAR100, tmp_path / 'made', train_size=3, test_size=2)
  (tmp_path / 'made' / 'test').unlink()
  content = archived(CIFAR100, tmp_path / 'made', tmp_path)
  (places[0] / CIFAR100.archive).write_bytes(content)
  refused(places[0], CIFAR100._replace(sha256=hashlib.sha256(content).hexdigest()), 'cannot be read: .*test')
  (places[0] / CIFAR100.archive).write_bytes(b'hello')
  refused(places[0], CIFAR100._replace(sha256=hashlib.sha256(b'hello').hexdigest()), 'cannot be read')


def test_what_is_nowhere_is_downloaded_once(places, tmp_path, monkeypatch):
  write(CIFAR100, tmp_path / 'made', train_size=4, test_size=2)
  content = archived(CIFAR100, tmp_path / 'made', tmp_path)
  made = CIFAR100._replace(sha256=hashlib.sha256(content).hexdigest())
  asked = []

  def urlopen(url):
    asked.append(url)
    return io.BytesIO(content)

  monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
  for _ in range(2):
    (x, _), _, _ = cifar_files.read(made, None)
    assert len(x) == 4
  assert asked == ['https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz']
  assert os.listdir(places[2] / 'cifar100') == [CIFAR100.archive]


def test_a_download_of_something_else_is_not_kept(places, monkeypatch):
  monkeypatch.setattr(urllib.request, 'urlopen', lambda url: io.BytesIO(b'hello'))
  refused(places[0], CIFAR10, 'could not be downloaded .*its sha256 is .*--data_dir')
  assert os.listdir(places[2] / 'cifar10') == []


class Calls:
  """Pickles as a call."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


def test_a_file_runs_no_code(places, tmp_path):
  write(CIFAR100, places[0], train_size=2, test_size=2)
  for call in (Calls(os.mkdir, str(tmp_path / 'ran')), Calls(np.load, 'x'), Calls(eval, '1')):
    (places[0] / 'train').write_bytes(pickle.dumps(batch(CIFAR100, 2, 0) | {b'more': call}, protocol=2))
    refused(places[0], CIFAR100, r'flag/train cannot be read as a file of CIFAR-100: .*it asks for')
  assert not (tmp_path / 'ran').exists()


def test_a_pickle_of_python_2_is_read(places):
  """As the official files are written: text is the old kind of string, which Python 3 takes for bytes."""
  write(CIFAR100, places[0], train_size=2, test_size=2)
  pixels = np.random.default_rng(0).integers(0, 256, (2, 3072)).astype(np.uint8)
  (places[0] / 'train').write_bytes(
    b'\x80\x02}(U\x0bbatch_labelU\x04madeU\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n'
    b'K\x00\x85U\x01b\x87R(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN'
    b'J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x18\x00\x00' + pixels.tobytes() + b'tb'
    b'U\x0bfine_labels](K\x07K\x63eu.'
  )  # fmt: skip
  (x, y), _, _ = cifar_files.read(CIFAR100, str(places[0]))
  assert np.array_equal(x, as_images({b'data': pixels}))
  assert y.tolist() == [7, 99]


def without(key):
  return {name: value for name, value in batch(CIFAR100, 3, 0).items() if name != key}


@pytest.mark.parametrize(
  ('content', 'match'),
  [
    (without(b'data'), "'data' are not images"),
    (without(b'fine_labels'), "'fine_labels' is not a list of 3 whole numbers"),
    (without(b'data') | {b'data': np.zeros((3, 3071), np.uint8)}, "'data' are not images"),
    (without(b'data') | {b'data': np.zeros((3, 3072), np.int16)}, "'data' are not images"),
    (without(b'data') | {b'data': np.zeros((0, 3072), np.uint8), b'fine_labels': []}, "'data' are not images"),
    (batch(CIFAR100, 3, 0) | {b'fine_labels': [0, 1]}, 'is not a list of 3 whole numbers'),
    (batch(CIFAR100, 3, 0) | {b'fine_labels': [0, 1, 0.5]}, 'is not a list of 3 whole numbers'),
    (batch(CIFAR100, 3, 0) | {b'fine_labels': [0, 1, 100]}, 'are not all from 0 to 99'),
    (batch(CIFAR100, 3, 0) | {b'fine_labels': [0, 1, -1]}, 'are not all from 0 to 99'),
    ([1, 2], 'cannot be read as a file of CIFAR-100'),
  ],
)
def test_a_file_of_another_form_is_refused_by_name(places, content, match):
  write(CIFAR100, places[0], train_size=2, test_size=2)
  (places[0] / 'test').write_bytes(pickle.dumps(content, protocol=2))
  refused(places[0], CIFAR100, f'flag/test.*{match}')


@pytest.mark.parametrize('damage', [b'', b'hello', pickle.dumps(batch(CIFAR10, 3, 0), protocol=2)[:-500]])
def test_a_damaged_file_is_refused_by_name(places, damage):
  write(CIFAR10, places[0], train_size=2, test_size=2)
  (places[0] / 'data_batch_3').write_bytes(damage)
  refused(places[0], CIFAR10, 'flag/data_batch_3 cannot be read as a file of CIFAR-10')
