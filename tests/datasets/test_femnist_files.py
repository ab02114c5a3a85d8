# SPDX-License-Identifier: Apache-2.0
"""The real file could not be had: small files in its layout stand in for it."""

import contextlib
import os
import sqlite3
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from femnist_made import example, write_leaf, write_sqlite, writers

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.datasets import femnist_files

TRAIN, TEST = writers(5, (4, 2))


@pytest.fixture
def sqlite_file(places):
  path = places[0] / femnist_files.SQLITE
  write_sqlite(path, TRAIN, TEST)
  return path


def assert_is_made(made):
  assert made.ids == tuple(sorted(TRAIN))
  for split, wanted in ((made.train, TRAIN), (made.test, TEST)):
    assert split.examples.x.dtype == np.float32
    assert split.examples.y.dtype == np.int32
    for k, name in enumerate(made.ids):
      x, y = split.client(k)
      assert np.allclose(x, wanted[name][0][..., np.newaxis], atol=1e-7)
      assert y.tolist() == wanted[name][1].tolist()


def refused(places, match):
  with pytest.raises(DataError, match=match) as error:
    femnist_files.read(str(places[0]))
  assert '\n' not in str(error.value)


def test_reads_tffs_file_writer_by_writer(places, sqlite_file, monkeypatch):
  monkeypatch.setattr(femnist_files, '_BLOCK', 7)  # which divides no writer's rows
  made = femnist_files.read(str(places[0]))
  assert_is_made(made)
  assert made.source == str(sqlite_file)


def test_tff_reads_the_same_from_the_file(places, sqlite_file):
  import tensorflow_federated as tff

  made = femnist_files.read(str(places[0]))
  train, test = tff.simulation.datasets.emnist.load_data(only_digits=False, cache_dir=str(places[0]))
  assert tuple(train.client_ids) == made.ids
  for theirs, ours in ((train, made.train), (test, made.test)):
    for k in (0, 4):
      x, y = ours.client(k)
      rows = list(theirs.create_tf_dataset_for_client(made.ids[k]).as_numpy_iterator())
      assert np.array_equal(x[..., 0], [row['pixels'] for row in rows])
      assert y.tolist() == [row['label'] for row in rows]


def test_reads_leafs_folder(places):
  write_leaf(places[0] / 'femnist', TRAIN, TEST)
  made = femnist_files.read(str(places[0]))
  assert_is_made(made)
  assert made.source == f'{places[0]}/femnist, in the format of LEAF'


@pytest.mark.parametrize('write', ['sqlite', 'leaf'])
def test_some_labels_of_some_writers_can_be_read(places, write):
  if write == 'sqlite':
    write_sqlite(places[0] / femnist_files.SQLITE, TRAIN, TEST)
  else:
    write_leaf(places[0], TRAIN, TEST)
  made = femnist_files.read(str(places[0]), labels=range(20, 50), choose=lambda ids: ids[1::2])
  assert made.ids == tuple(sorted(TRAIN))[1::2]
  for split, wanted in ((made.train, TRAIN), (made.test, TEST)):
    for k, name in enumerate(made.ids):
      x, y = wanted[name]
      rows = (y >= 20) & (y < 50)
      assert split.client(k).y.tolist() == y[rows].tolist()
      assert np.allclose(split.client(k).x[..., 0], x[rows], atol=1e-7)


def test_looks_in_the_flag_then_the_variable_then_the_cache(places, sqlite_file):
  content = sqlite_file.read_bytes()
  sqlite_file.unlink()
  assert femnist_files.find(None) is None
  for folder in reversed(places):
    for sub in ('emnist', 'tff_cache', 'femnist', '.'):
      path = folder / sub / femnist_files.SQLITE
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(content)
      assert os.path.samefile(femnist_files.find(str(places[0])), path)
  with pytest.raises(UserError, match='is not a folder'):
    femnist_files.find(str(places[0] / 'nothing'))


def test_the_file_is_only_read(places, sqlite_file):
  before = sqlite_file.read_bytes()
  os.chmod(sqlite_file, 0o444)
  femnist_files.read(str(places[0]))
  assert sqlite_file.read_bytes() == before
  assert os.listdir(places[0]) == [femnist_files.SQLITE]


@pytest.mark.parametrize(
  ('rows', 'match'),
  [
    ([], 'its writers have nothing to train on'),
    ([('all_test', 'w', example(np.zeros(784), 1))], "the writer 'w' has nothing to train on"),
    ([('all_train', 'w', example(np.zeros(784), 62))], 'labels are not all from 0 to 61'),
    ([('all_train', 'w', example(np.zeros(784), -1))], 'labels are not all from 0 to 61'),
    ([('all_train', 'w', example(np.full(784, 1.5), 1))], 'pixels are not all from 0 to 1'),
    ([('all_train', 'w', example(np.full(784, np.nan), 1))], 'pixels are not all from 0 to 1'),
    ([('all_train', 'w', example(np.zeros(783), 1))], r'an example in all_train has no label and pixels \[28, 28\]'),
    ([('all_train', 'w', b'hello')], r'an example in all_train has no label and pixels'),
  ],
)
def test_a_malformed_file_is_refused_by_name(places, rows, match):
  path = places[0] / femnist_files.SQLITE
  write_sqlite(path, TRAIN, TEST)
  with contextlib.closing(sqlite3.connect(path)) as file, file:
    file.execute('DELETE FROM examples')
    file.executemany('INSERT INTO examples VALUES (?, ?, ?)', rows)
  refused(places, f'flag/emnist_all.sqlite.*{match}')


def test_what_is_no_database_is_refused_by_name(places, sqlite_file):
  whole = sqlite_file.read_bytes()
  for damaged in (b'', b'hello' * 100, whole[: len(whole) // 2]):
    sqlite_file.write_bytes(damaged)
    refused(places, "flag/emnist_all.sqlite cannot be read as one of TFF's SQLite files")


def test_another_federation_of_leaf_is_refused(places):
  for part in ('train', 'test'):
    (places[0] / part).mkdir()
    (places[0] / part / 'a.json').write_text(
      '{"users": ["u"], "num_samples": [1], "user_data": {"u": {"x": [[0.5, 0.5]], "y": [1]}}}'
    )
  refused(places, r'flag is not FEMNIST: x has the shape \(2,\)')


def test_more_than_memory_holds_is_refused(places, sqlite_file, monkeypatch):
  monkeypatch.setattr(femnist_files, 'free_memory', lambda: 1000.0)
  refused(places, r'its 30 examples take .* GiB of memory; .* --femnist_share takes a part of the writers')


class TestDownload:
  @pytest.fixture
  def tff(self, monkeypatch):
    """Sets what TFF does to download its file into a folder."""

    def serve(load_data):
      emnist = types.SimpleNamespace(load_data=load_data)
      datasets = types.SimpleNamespace(emnist=emnist)
      fake = types.SimpleNamespace(simulation=types.SimpleNamespace(datasets=datasets))
      monkeypatch.setitem(sys.modules, 'tensorflow_federated', fake)

    return serve

  def test_happens_once_and_into_the_cache(self, places, tff):
    calls = []

    def load_data(only_digits, cache_dir):
      calls.append(only_digits)
      write_sqlite(tf.io.gfile.join(cache_dir, femnist_files.SQLITE), TRAIN, TEST)

    tff(load_data)
    for _ in range(2):
      assert_is_made(femnist_files.read(None))
    assert calls == [False]
    assert os.listdir(places[2] / 'tff_cache') == [femnist_files.SQLITE]

  def test_that_breaks_off_leaves_nothing_behind(self, places, tff):
    def load_data(only_digits, cache_dir):
      (places[2] / cache_dir / femnist_files.SQLITE).write_bytes(b'the first part')
      raise OSError('the network is gone')

    tff(load_data)
    refused(places, r'FEMNIST is not on this machine and could not be downloaded \(the network is gone\)')
    assert os.listdir(places[2] / 'tff_cache') == []
