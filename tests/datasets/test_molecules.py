# SPDX-License-Identifier: Apache-2.0
"""Of made-up sets, and of the real ones where $FEDPROX_DATA_DIR names a folder that has them."""

import hashlib
import importlib
import io
import os
import urllib.error
import urllib.request

import numpy as np
import pytest

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import sources
from tests import graphs
from tests.federations import load

FOLDER = os.environ.get(sources.VARIABLE)
MODULE = importlib.import_module('fedprox_tff.datasets.molecules')  # its name in the package is the factory's


def ring_set(num_graphs, kind):
  """The files of a set whose graph i is a ring of 3 + i nodes of one kind, of class 7 for an even i, else 2."""
  sizes = [3 + i for i in range(num_graphs)]
  starts = np.cumsum([1, *sizes])
  pairs = [(start + j, start + (j + 1) % n) for start, n in zip(starts, sizes, strict=False) for j in range(n)]
  return {
    'A': ''.join(f'{a}, {b}\n{b}, {a}\n' for a, b in pairs),
    'graph_indicator': ''.join(f'{i + 1}\n' * n for i, n in enumerate(sizes)),
    'graph_labels': ''.join(f'{2 if i % 2 else 7}\n' for i in range(num_graphs)),
    'node_labels': f'{kind}\n' * sum(sizes),
  }


SETS = {'ONE': ring_set(9, kind=2), 'TWO': ring_set(5, kind=4)}


@pytest.fixture
def places(monkeypatch, tmp_path):
  """The folders of the flag and of the cache, both empty, for two made-up sets that are known by what is in them."""
  known = {name: hashlib.sha256(''.join(files.values()).encode()).hexdigest() for name, files in SETS.items()}
  monkeypatch.setattr(MODULE, 'SHA256', known)
  monkeypatch.delenv(sources.VARIABLE, raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
  (tmp_path / 'flag' / 'molecules').mkdir(parents=True)
  return tmp_path / 'flag', tmp_path / 'xdg' / 'fedprox_tff' / 'molecules'


def federate(folder=None, data_seed=0):
  return MODULE.molecules(data_dir=folder and str(folder), data_seed=data_seed).load()


def write_sets(folder, **changes):
  for name, files in SETS.items():
    graphs.write(folder, name, **(files | changes))


def sizes_and_labels(split, client):
  """How many nodes each graph of a client has, and its label."""
  x, y = split.client(client)
  return list(zip((x[:, :, 0] > 0).sum(axis=1).tolist(), y.tolist(), strict=True))


def test_a_set_is_a_client(places):
  folder, _ = places
  write_sets(folder / 'molecules')
  dataset = federate(folder)
  assert dataset.client_ids == ('ONE', 'TWO')
  assert dataset.train.sizes.tolist() == [7, 4]  # floor(0.8 n)
  assert dataset.test.sizes.tolist() == [2, 1]
  assert dataset.task == ((11, 3), 2, dataset.inputs, ())
  assert (dataset.inputs.kind, dataset.inputs.vocabulary) == ('graphs', 6)
  assert dataset.train.examples.x.dtype == np.int16
  for client, num_graphs in ((0, 9), (1, 5)):
    held = sizes_and_labels(dataset.train, client) + sizes_and_labels(dataset.test, client)
    assert sorted(held) == [(3 + i, 1 - i % 2) for i in range(num_graphs)]  # class 2 is 0, class 7 is 1
    kinds = np.unique(dataset.train.client(client).x[:, :, 0])
    assert kinds.tolist() == [0, (3, 5)[client]]


def test_neighbours_stay_with_their_nodes(places):
  folder, _ = places
  write_sets(folder)
  x, _ = federate(folder).train.client(1)
  for table in x:
    size = (table[:, 0] > 0).sum()
    for place in range(size):
      assert sorted(table[place, 1:] - 1) == sorted([(place - 1) % size, (place + 1) % size])
    assert not table[size:].any()


def test_the_split_follows_the_seed(places):
  folder, _ = places
  write_sets(folder)
  first, again, other = (federate(folder, seed) for seed in (0, 0, 1))
  assert first.fingerprint == again.fingerprint != other.fingerprint
  assert sizes_and_labels(first.train, 0)[:5] != sizes_and_labels(other.train, 0)[:5]


def test_another_file_is_refused(places):
  folder, _ = places
  write_sets(folder, node_labels='1\n' * 63)
  with pytest.raises(
    DataError, match=r'ONE\.zip is not the published ONE: the sha256 of its text files is [0-9a-f]+\.$'
  ):
    federate(folder)


def test_a_set_of_three_classes_is_refused(places, monkeypatch):
  folder, _ = places
  files = SETS['ONE'] | {'graph_labels': '1\n2\n3\n' * 3}
  monkeypatch.setattr(MODULE, 'SHA256', {'ONE': hashlib.sha256(''.join(files.values()).encode()).hexdigest()})
  graphs.write(folder, 'ONE', **files)
  with pytest.raises(DataError, match=r'ONE has the classes 1, 2, 3; two are needed\.$'):
    federate(folder)


def test_what_is_missing_is_downloaded_once(places, monkeypatch, tmp_path):
  _, cache = places
  write_sets(tmp_path)
  asked = []

  def urlopen(url):
    asked.append(url)
    return io.BytesIO((tmp_path / url.rpartition('/')[2]).read_bytes())

  monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
  first, again = federate(), federate()
  assert first.fingerprint == again.fingerprint
  assert asked == [f'https://www.chrsmrrs.com/graphkerneldatasets/{name}.zip' for name in SETS]
  assert sorted(os.listdir(cache)) == ['ONE.zip', 'TWO.zip']


@pytest.mark.parametrize('content', [b'<html>', None])
def test_a_failed_download_is_one_line_and_leaves_nothing(places, monkeypatch, content):
  _, cache = places

  def urlopen(url):
    if content is None:
      raise urllib.error.URLError('no route to host')
    return io.BytesIO(content)

  monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
  with pytest.raises(
    DataError, match=r'^ONE is not on this machine and could not be downloaded \(.*--data_dir'
  ) as error:
    federate()
  assert '\n' not in str(error.value)
  assert os.listdir(cache) == []


@pytest.mark.skipif(
  not (FOLDER and sources.find(FOLDER, ['molecules'], ['MUTAG.zip'])),
  reason=f'${sources.VARIABLE} names no folder with molecules',
)
class TestRealSets:
  @pytest.fixture(scope='class')
  def dataset(self):
    return load('molecules', data_dir=FOLDER)

  def test_sizes(self, dataset):
    assert dataset.client_ids == ('MUTAG', 'BZR', 'COX2', 'DHFR', 'PTC_MR', 'AIDS', 'NCI1')
    assert (dataset.train.sizes + dataset.test.sizes).tolist() == [188, 405, 467, 756, 344, 2000, 4110]
    assert dataset.train.sizes.tolist() == [150, 324, 373, 604, 275, 1600, 3288]
    assert dataset.input_shape == (111, 7)
    assert dataset.inputs.vocabulary == 55

  def test_classes(self, dataset):
    held = [np.concatenate([split.client(k).y for split in (dataset.train, dataset.test)]) for k in range(7)]
    assert [int(y.sum()) for y in held] == [125, 86, 102, 461, 152, 1600, 2057]

  def test_atoms_have_the_bonds_that_they_can_have(self, dataset):
    x, _ = dataset.train.client(0)  # MUTAG: 0 is carbon, 1 nitrogen, 2 oxygen; hydrogen is left out
    degrees = (x[:, :, 1:] > 0).sum(axis=2)
    assert degrees[x[:, :, 0] == 1].max() == 4
    assert degrees[x[:, :, 0] == 2].max() == 3
    assert degrees[x[:, :, 0] == 3].max() == 2
