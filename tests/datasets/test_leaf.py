# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.core.task import Inputs
from tests.federations import load


def record(**users):
  """A file's content, from the users' lists of (x, y)."""
  user_data = {user: {'x': [x for x, _ in pairs], 'y': [y for _, y in pairs]} for user, pairs in users.items()}
  return {'users': list(users), 'num_samples': [len(pairs) for pairs in users.values()], 'user_data': user_data}


ANN, BOB = [([0.5, 1], 2), ([3, 4], 0.0)], [([5, 6], 1)]


@pytest.fixture
def write(tmp_path):
  def write(name, content):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))

  write('train/all.json', record(ann=ANN, bob=BOB))
  write('test/all.json', record(ann=BOB))
  return write


def refused(folder, match):
  with pytest.raises(DataError, match=match) as error:
    load('leaf', data_dir=str(folder))
  assert '\n' not in str(error.value)


def test_reads_users_in_their_order_with_their_examples(write, tmp_path):
  dataset = load('leaf', data_dir=str(tmp_path))
  assert dataset.client_ids == ('ann', 'bob')
  assert dataset.train.sizes.tolist() == [2, 1]
  assert dataset.train.client(0).x.tolist() == [[0.5, 1], [3, 4]]
  assert dataset.train.client(0).y.tolist() == [2, 0]
  assert (dataset.train.examples.x.dtype, dataset.train.examples.y.dtype) == (np.float32, np.int32)
  assert dataset.test.client(0).x.tolist() == [[5, 6]]
  assert dataset.num_classes == 3
  assert dataset.input_shape == (2,)


def test_a_user_without_test_examples_is_kept(write, tmp_path):
  write('test/all.json', record(bob=[], ann=BOB))
  dataset = load('leaf', data_dir=str(tmp_path))
  assert dataset.test.sizes.tolist() == [1, 0]
  assert dataset.test.client(1).x.shape == (0, 2)


def test_labels_of_the_test_files_count_as_classes(write, tmp_path):
  write('test/all.json', record(ann=[([5, 6], 9)]))
  assert load('leaf', data_dir=str(tmp_path)).num_classes == 10


def test_several_files_are_read_in_the_order_of_their_names(write, tmp_path):
  write('train/b.json', record(zoe=ANN, cid=BOB))
  write('train/c.json', record(abe=BOB))
  write('train/notes.txt', 'not data')
  write('test/b.json', record(abe=ANN))
  dataset = load('leaf', data_dir=str(tmp_path))
  assert dataset.client_ids == ('ann', 'bob', 'zoe', 'cid', 'abe')
  assert dataset.train.sizes.tolist() == [2, 1, 2, 1, 1]
  assert dataset.test.sizes.tolist() == [1, 0, 0, 0, 2]


def test_flat_images_stay_flat_and_nested_ones_nested(write, tmp_path):
  write('test/all.json', record(ann=[]))
  for x in ([0.25] * 784, [[0.25] * 28] * 28):
    write('train/all.json', record(ann=[(x, 1)]))
    assert load('leaf', data_dir=str(tmp_path)).input_shape == np.shape(x)


def test_missing_folders_are_refused(write, tmp_path):
  with pytest.raises(UserError, match='--dataset=leaf needs --data_dir'):
    load('leaf')
  with pytest.raises(UserError, match=r'^--data_dir=.*nowhere is not a folder') as error:
    load('leaf', data_dir=str(tmp_path / 'nowhere'))
  assert not isinstance(error.value, DataError)  # which --fallback_dataset would swallow
  (tmp_path / 'test/all.json').unlink()
  refused(tmp_path, 'test holds no .json file')
  (tmp_path / 'test').rmdir()
  refused(tmp_path, 'test is not a folder')


MALFORMED = {
  'not JSON': ('{"users": [', 'cannot be read as JSON'),
  'not an object': ('[]', 'has no users, num_samples, user_data'),
  'a key missing': ({'users': [], 'user_data': {}}, 'has no num_samples'),
  'lengths differ': (record(ann=ANN) | {'num_samples': [2, 1]}, 'not two lists of the same length'),
  'users a number': (record(ann=ANN) | {'users': 1}, 'not two lists of the same length'),
  'data a list': (record(ann=ANN) | {'user_data': []}, 'user_data is not an object'),
  'a user without data': (record(ann=ANN) | {'users': ['eve']}, "user 'eve' has no x and y"),
  'no y': (record(ann=ANN) | {'user_data': {'ann': {'x': []}}}, "user 'ann' has no x and y"),
  'a user twice': (record(ann=ANN) | {'users': ['ann', 'ann'], 'num_samples': [2, 2]}, 'twice'),
  'a wrong count': (record(ann=ANN) | {'num_samples': [3]}, 'has 2 x and 2 y, but num_samples says 3'),
  'ragged x': (record(ann=[([1, 2], 0), ([1], 0)]), 'x has lists of unequal lengths'),
  'text': (record(ann=[('to be or not', 0)]), 'x is text; numbers are needed'),
  'numbers as text': (record(ann=[(['1', '2'], 0)]), 'x is text; numbers are needed'),
  'a null': (record(ann=[([1, None], 0)]), 'x has .* other than finite numbers'),
  'not finite': (record(ann=[([1, float('nan')], 0)]), 'x has .* other than finite numbers'),
  'bare numbers': (record(ann=[(1, 0)]), 'bare numbers'),
  'another length': (record(ann=ANN, eve=[([1, 2, 3], 0)]), r"user 'eve' has x of shape \(3,\), others of \(2,\)"),
  'half a label': (record(ann=[([1, 2], 0.5)]), 'whole numbers from 0'),
  'a negative label': (record(ann=[([1, 2], -1)]), 'whole numbers from 0'),
  'a list for a label': (record(ann=[([1, 2], [0, 1])]), 'y has lists for labels, such as one-hot ones'),
  'a label as text': (record(ann=[([1, 2], 'a')]), 'y is text; numbers are needed'),
  'nested': ('[' * 100_000, 'nested too deeply'),
  'beyond float32': (record(ann=[([1, 1e39], 0)]), r'x has a number beyond 3\.4e\+38, which is infinite in float32'),
  'just beyond float32': (record(ann=[([1, -3.5e38], 0)]), r'x has a number beyond 3\.4e\+38'),
  'beyond any number': (record(ann=[([1, 2], 10**30)]), 'y has .* other than finite numbers'),
  'a huge label': (record(ann=[([1, 2], 1_000_000)]), 'y has the label 1000000; at most 99999 is allowed'),
  'the largest int32': (record(ann=[([1, 2], 2**31 - 1)]), 'y has the label 2147483647; at most 99999'),
  'truth for a label': (record(ann=[([1, 2], True)]), 'y has .* other than finite numbers'),
  'no features': (record(ann=[([], 0), ([], 1)]), 'x has no features'),
  'a count as text': (record(ann=ANN) | {'num_samples': ['2']}, "num_samples says '2', where a whole number is needed"),
  'a count that is not whole': (record(ann=ANN) | {'num_samples': [2.0]}, 'num_samples says 2.0, where a whole number'),
  'a user of nobody': (
    record(ann=ANN) | {'user_data': {**record(ann=ANN)['user_data'], 'eve': {'x': [], 'y': []}}},
    "user 'eve' is in user_data and not in users",
  ),
  'a key twice': (
    '{"users": ["a"], "num_samples": [1], "user_data": {"a": {"x": [[1]], "y": [0]}, "a": {"x": [[2]], "y": [0]}}}',
    "an object has the key 'a' twice",
  ),
}


@pytest.mark.parametrize(('content', 'message'), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize('part', ['train', 'test'])
def test_malformed_files_are_refused_by_name(write, tmp_path, part, content, message):
  if part == 'test':  # where users must be those of train
    write('train/all.json', record(ann=ANN, eve=ANN))
  write(f'{part}/all.json', content)
  refused(tmp_path, rf'{part}/all.json.*{message}')


def test_users_that_cannot_train_are_refused(write, tmp_path):
  write('test/all.json', record(eve=BOB))
  refused(tmp_path, "test/all.json: user 'eve' is not in train")
  write('train/all.json', record(ann=[]))
  refused(tmp_path, "train/all.json: user 'ann' has nothing to train on")
  write('train/all.json', record())
  write('test/all.json', record())
  refused(tmp_path, 'has no users')


def test_texts_and_letters_are_shakespeares(write, tmp_path):
  write('train/all.json', record(eve=[], ann=[('to be', ' '), ('o be ', 'o')], bob=[('}\n[]z', 'Z')]))
  write('test/all.json', record(ann=[('be or', ' ')]))
  refused(tmp_path, "user 'eve' has nothing to train on")
  write('train/all.json', record(ann=[('to be', ' '), ('o be ', 'o')], bob=[('}\n[]z', 'Z')]))
  dataset = load('leaf', data_dir=str(tmp_path))
  assert dataset.train.client(0).x.tolist() == [[72, 67, 1, 54, 57], [67, 1, 54, 57, 1]]
  assert dataset.train.client(0).y.tolist() == [1, 67]
  assert dataset.train.client(1).x.tolist() == [[79, 0, 51, 52, 78]]
  assert dataset.train.client(1).y.tolist() == [50]
  assert dataset.test.client(0).x.tolist() == [[54, 57, 1, 67, 70]]
  assert dataset.test.sizes.tolist() == [1, 0]
  assert (dataset.num_classes, dataset.inputs) == (80, Inputs('tokens', vocabulary=80))
  assert (dataset.train.examples.x.dtype, dataset.train.examples.y.dtype) == (np.uint8, np.int32)


def tweet(text):
  return ['1467810369', 'Mon Apr 06', 'NO_QUERY', 'ann', text, 'training']


@pytest.mark.parametrize('labels', [('0', '4', '2'), (0, 4, 0), ('0', '1', '0'), (0, 1, 0)])
def test_rows_of_text_are_tweets(write, tmp_path, labels):
  pairs = list(zip(map(tweet, ['Good, GOOD day!', "isn't good", 'day']), labels, strict=True))
  write('train/all.json', record(ann=pairs[:2], bob=pairs[2:]))
  write('test/all.json', record(ann=[(tweet('a good day'), labels[1])]))
  dataset = load('leaf', data_dir=str(tmp_path))
  # good 3, day 2, then one each: ! , isn't
  assert dataset.train.client(0).x[:, :6].tolist() == [[2, 5, 2, 3, 4, 0], [6, 2, 0, 0, 0, 0]]
  assert dataset.train.client(1).x[:, :3].tolist() == [[3, 0, 0]]
  assert dataset.test.client(0).x[:, :4].tolist() == [[1, 2, 3, 0]]
  assert dataset.train.examples.y.tolist() == [0, 1, 0]
  assert dataset.test.examples.y.tolist() == [1]
  assert dataset.input_shape == (25,)
  assert (dataset.num_classes, dataset.inputs) == (2, Inputs('tokens', vocabulary=7))


MIXED = {
  'numbers behind letters': ([('ab', 'c'), (1, 2)], 'x is no list of texts'),
  'a letter behind numbers': ([([1, 2], 1), ('ab', 'c')], 'x has lists of unequal lengths'),
  'numbers behind a tweet': ([(tweet('a'), '4'), ([1, 2], 1)], 'x has something other than lists of a number'),
  'a label that is none': ([(tweet('a'), '4'), (tweet('a'), '3')], "y has the label '3'; 0, 1, 2 or 4 is needed"),
  'a tweet with a letter': ([(tweet('a'), 'b')], 'x is text; numbers are needed'),
}


@pytest.mark.parametrize(('pairs', 'message'), MIXED.values(), ids=MIXED)
def test_all_examples_are_of_one_kind(write, tmp_path, pairs, message):
  write('train/all.json', record(ann=pairs))
  refused(tmp_path, message)
  write('train/all.json', record(ann=pairs[:1], bob=pairs[1:]))
  if len(pairs) > 1 and pairs[0] != ([1, 2], 1):
    refused(tmp_path, f"user 'bob': {message}")


def test_a_count_that_is_wrong_is_found_in_text_too(write, tmp_path):
  for pair in (('ab', 'c'), (tweet('a'), '4')):
    write('train/all.json', record(ann=[pair]) | {'num_samples': [2]})
    refused(tmp_path, 'has 1 x and 1 y, but num_samples says 2')
