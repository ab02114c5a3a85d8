# SPDX-License-Identifier: Apache-2.0
"""Arrays come back bit for bit, or the file is said to be damaged."""

import json
import os
import resource

import numpy as np
import pytest

from fedprox_tff.core.errors import DamagedError
from fedprox_tff.machine import sealed

RNG = np.random.default_rng(0)
ARRAYS = {
  'bits': RNG.integers(0, 2**32, (7, 3), np.uint32).view(np.float32),  # NaNs of all kinds among them
  'scalar': np.float64(0.1),
  'none': np.zeros((0, 5), np.int64),
  'text': np.frombuffer(b'0,1\n', np.uint8),
  'turned': np.arange(6, dtype=np.int32).reshape(2, 3).T,
  'truth': np.array([True, False]),
}
ABOUT = {'round': 20, 'who': 'ü', 'nested': {'a': [1, None]}}


@pytest.fixture
def path(tmp_path):
  sealed.write(tmp_path / 'file', ABOUT, ARRAYS)
  return tmp_path / 'file'


def test_what_was_written_is_read_bit_for_bit(path):
  read = sealed.read(path)
  assert read.about == ABOUT
  assert read.arrays.keys() == ARRAYS.keys()
  for name, array in ARRAYS.items():
    there = read.arrays[name]
    assert (there.dtype, there.shape, there.tobytes()) == (array.dtype, array.shape, np.asarray(array).tobytes()), name
    assert not there.flags.writeable
    assert there.ctypes.data % there.itemsize == 0


def test_the_digest_tells_files_apart(tmp_path):
  digests = [
    sealed.write(tmp_path / name, {'round': number}, {'a': np.full(3, value)})
    for name, number, value in (('a', 1, 1.0), ('b', 1, 1.0), ('c', 2, 1.0), ('d', 1, 2.0))
  ]
  assert digests[0] == digests[1]
  assert len(set(digests)) == 3
  assert sealed.read(tmp_path / 'a').digest == digests[0]


def test_any_bit_and_any_length_is_noticed(path):
  whole = path.read_bytes()
  for place in range(len(whole)):
    path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
    with pytest.raises(DamagedError):
      sealed.read(path)
    path.write_bytes(whole[:place])
    with pytest.raises(DamagedError):
      sealed.read(path)


@pytest.mark.parametrize(
  ('make', 'said'),
  [
    (lambda path: None, 'is missing'),
    (lambda path: path.mkdir(), 'is a folder'),
    (lambda path: path.write_bytes(b''), 'is empty'),
    (lambda path: path.write_bytes(b'\x93NUMPY' + bytes(100)), 'is not a file of this suite'),
    (lambda path: np.savez(path.open('wb'), a=1), 'is not a file of this suite'),
    (lambda path: path.write_bytes(bytes(1000)), 'is not a file of this suite'),
  ],
)
def test_what_is_no_sealed_file_is_named(tmp_path, make, said):
  path = tmp_path / 'file'
  make(path)
  with pytest.raises(DamagedError) as error:
    sealed.read(path)
  assert str(error.value) == f'{path} {said}'


@pytest.mark.parametrize(
  'header',
  [
    'rubbish',
    '[]',
    '[' * 50_000,
    json.dumps({'about': {}, 'arrays': [['a', 'object', [1]]]}),
    json.dumps({'about': {}, 'arrays': [['a', 'no_such_type', [1]]]}),
    json.dumps({'about': {}, 'arrays': [['a', 'float32', [10**9]]]}),
    json.dumps({'about': {}, 'arrays': [['a', 'float32', 'many']]}),
    json.dumps({'arrays': []}),
  ],
)
def test_a_sound_file_with_another_header_is_of_another_version(tmp_path, monkeypatch, header):
  monkeypatch.setattr(json, 'dumps', lambda _: header)
  sealed.write(tmp_path / 'file', {}, {})
  with pytest.raises(DamagedError, match='is of another version'):
    sealed.read(tmp_path / 'file')


def test_an_error_to_read_is_not_damage(tmp_path):
  """Reading /proc/self/mem from its beginning is a real I/O error."""
  (tmp_path / 'file').symlink_to('/proc/self/mem')
  with pytest.raises(OSError, match=r"Input/output error: '.*/file'$"):
    sealed.read(tmp_path / 'file')


def test_too_many_open_files_are_not_damage(path):
  before = resource.getrlimit(resource.RLIMIT_NOFILE)
  resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir('/proc/self/fd'))) + 1, before[1]))
  held = []
  try:
    with pytest.raises(OSError, match='Too many open files'):
      while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
    with pytest.raises(OSError, match=r"Too many open files: '.*/file'$"):
      sealed.read(path)
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for descriptor in held:
      os.close(descriptor)
