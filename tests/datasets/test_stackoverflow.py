# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.core.errors import DataError
from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets.stackoverflow import encode
from fedprox_tff.models import lstm
from tests.datasets import tff_database
from tests.federations import load

LONG = ' '.join(f'w{i}' for i in range(25))
TRAIN = {
  'b': ['how do i do this ?', 'do it'],
  'a': ['thanks', LONG, 'the third'],
  'c': ['use this'],
}
TEST = {'a': ['do this now'], 'd': ['unseen']}


def example(tokens):
  rest = {'creation_date': '2010-01-08', 'tags': 'sql', 'title': 'a title', 'type': 'answer'}
  return {**rest, 'score': 3, 'tokens': tokens}


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv('FEDPROX_DATA_DIR', str(tmp_path))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
  (tmp_path / 'stackoverflow').mkdir()
  splits = {'train': TRAIN, 'test': TEST, 'heldout': {'e': ['no']}}
  tff_database.write(
    tmp_path / 'stackoverflow' / 'stackoverflow.sqlite',
    {
      name: {user: [example(text) for text in texts] for user, texts in users.items()} for name, users in splits.items()
    },
  )
  return tmp_path


def write_counts(folder, text='do 9\nthis 8\nhow 3\nthe 2\nrare 1\n'):
  (folder / 'datasets').mkdir(exist_ok=True)
  (folder / 'datasets' / 'stackoverflow.word_count').write_text(text)


def test_words_are_told_from_those_before_them():
  x, y = encode([['do', 'what', 'this'], [], ['this'] * 19, ['do'] * 20, ['do'] * 21], {'do': 4, 'this': 5})
  assert x[0].tolist() == [2, 4, 1, 5] + [3] + [0] * 15
  assert y[0].tolist() == [4, 1, 5, 3] + [-1] * 16
  assert (x[1].tolist(), y[1].tolist()) == ([2, 3] + [0] * 18, [3] + [-1] * 19)
  assert (x[2].tolist(), y[2].tolist()) == ([2] + [5] * 19, [5] * 19 + [3])
  assert (x[3].tolist(), y[3].tolist()) == ([2] + [4] * 19, [4] * 20)
  assert (x[4].tolist(), y[4].tolist()) == ([2] + [4] * 19, [4] * 20)
  assert x.dtype == y.dtype == np.int32


def test_a_file_of_tffs_is_a_federation(folder):
  write_counts(folder)
  dataset = load('stackoverflow', num_clients=3, num_words=4)
  assert dataset.train.sizes.tolist() == [3, 2, 1]  # a, b, c
  assert dataset.test.sizes.tolist() == [1, 0, 0]
  assert dataset.train.client(1).x[:, :8].tolist() == [[2, 6, 4, 1, 4, 5, 1, 3], [2, 4, 1, 3, 0, 0, 0, 0]]
  assert dataset.train.client(1).y[1].tolist() == [4, 1, 3] + [-1] * 17
  assert dataset.test.client(0).y[0, :5].tolist() == [4, 5, 1, 3, -1]
  assert dataset.train.client(0).y[1].tolist() == [1] * 20
  assert (dataset.num_classes, dataset.inputs) == (8, Inputs('tokens', vocabulary=8))
  assert dataset.task.label_shape == dataset.input_shape == (20,)
  assert dataset.client_ids == ('f_00000', 'f_00001', 'f_00002')
  assert dataset.source.endswith(f'sqlite, 3 of 3 users, words of {folder}/datasets/stackoverflow.word_count')


def test_without_counts_the_vocabulary_is_of_the_sentences_that_are_read(folder):
  dataset = load('stackoverflow', num_clients=3, max_sentences=1, num_words=3)
  # The first sentences: do twice, this twice; then ?, how, i, thanks and use, of which "?" is the first.
  assert dataset.train.sizes.tolist() == [1, 1, 1]
  assert dataset.train.client(1).x[0, :8].tolist() == [2, 1, 4, 1, 4, 5, 6, 3]
  assert dataset.train.client(2).y[0, :4].tolist() == [1, 5, 3, -1]
  assert dataset.num_classes == 7
  assert dataset.source.endswith('words of their sentences')


def test_users_are_drawn_by_the_data_seed(folder):
  firsts = {
    tuple(load('stackoverflow', num_clients=2, data_seed=seed, num_words=1).train.sizes.tolist()) for seed in range(12)
  }
  assert firsts == {(3, 2), (3, 1), (2, 1)}
  with pytest.raises(DataError, match=r'--num_clients=4: .*stackoverflow\.sqlite has 3 users'):
    load('stackoverflow', num_clients=4)


def test_tff_reads_the_same_words_of_such_a_file(folder):
  import tensorflow_federated as tff

  train, _, test = tff.simulation.datasets.stackoverflow.load_data(cache_dir=str(folder / 'stackoverflow'))
  for data, users in ((train, TRAIN), (test, TEST)):
    assert data.client_ids == sorted(users)
    for user, texts in users.items():
      found = [each['tokens'].numpy().decode() for each in data.create_tf_dataset_for_client(user)]
      assert sorted(found) == sorted(texts)


def test_a_network_predicts_at_each_place(folder):
  dataset = load('stackoverflow', num_clients=3)
  model = lstm(hidden_units=4, num_layers=1).build(dataset.task, seed=0)
  logits = model.logits(model.initial_weights, dataset.train.examples.x)
  assert logits.shape == (6, 20, dataset.num_classes)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('do\n', 'line 1 is no word and its count'),
    ('do x\n', 'line 1 is'),
    ('do 1\ndo 1\n', 'a word twice'),
    ('', 'no words'),
  ],
)
def test_malformed_counts_are_refused(folder, text, message):
  write_counts(folder, text)
  with pytest.raises(DataError, match=message):
    load('stackoverflow', num_clients=2)


def test_a_file_that_is_nowhere_is_not_downloaded(folder):
  (folder / 'stackoverflow' / 'stackoverflow.sqlite').unlink()
  with pytest.raises(
    DataError, match=rf'stackoverflow\.sqlite is not in {folder}, .*, nor in .*load_data.*downloads it'
  ):
    load('stackoverflow')
