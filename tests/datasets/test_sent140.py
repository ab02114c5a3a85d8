# SPDX-License-Identifier: Apache-2.0
import csv
import hashlib
import io
import json
import lzma
import os
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.datasets import sent140_files, sources
from tests.federations import load

COUNTS = {'ann': 10, 'bob': 5, 'cid': 2, 'dot': 1}


def word(user, number):
  return f'{user}{number}'


# Tweet i of a user is one word that nobody else has; every third is positive.
ROWS = [(user, 4 if i % 3 == 0 else 0, word(user, i)) for i in range(10) for user, n in COUNTS.items() if i < n]


pytestmark = pytest.mark.usefixtures('places')


def table(rows=ROWS):
  file = io.StringIO(newline='')
  csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
    [[label, '1467810369', 'Mon Apr 06', 'NO_QUERY', user, text] for user, label, text in rows]
  )
  return file.getvalue().encode('latin-1')


def archive(rows=ROWS, name=sent140_files.CSV):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as made:
    made.writestr(name, table(rows))
  return file.getvalue()


def jsonl(rows=ROWS):
  return ''.join(json.dumps([user, int(label == 4), text]) + '\n' for user, label, text in rows).encode()


def leaf(users):
  """A LEAF file's content, of users' rows."""
  user_data = {
    user: {
      'x': [['1467810369', 'Mon Apr 06', 'NO_QUERY', user, text, 'training'] for _, _, text in rows],
      'y': [str(label) for _, label, _ in rows],
    }
    for user, rows in users.items()
  }
  counts = [len(rows) for rows in users.values()]
  return json.dumps({'users': list(users), 'num_samples': counts, 'user_data': user_data}).encode()


def rows_of(*users):
  return {user: [row for row in ROWS if row[0] == user] for user in users}


def write(folder, **files):
  for name, content in files.items():
    path = folder.joinpath(*name.split('__'))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


LAYOUTS = {
  'csv': {sent140_files.CSV: table()},
  'zip': {sent140_files.ZIP: archive()},
  'jsonl': {'sent140_a.jsonl': jsonl()},
  'jsonl.xz': {'sent140_a.jsonl.xz': lzma.compress(jsonl())},
}


@pytest.mark.parametrize('files', LAYOUTS.values(), ids=LAYOUTS)
def test_all_layouts_hold_the_same_users(places, files):
  write(places[0], **files)
  dataset = load('sent140', data_dir=str(places[0]), min_tweets=2)
  assert dataset.client_ids == ('f_00000', 'f_00001', 'f_00002')  # ann, bob, cid
  assert dataset.train.sizes.tolist() == [8, 4, 1]
  assert dataset.test.sizes.tolist() == [2, 1, 1]
  assert (dataset.num_classes, dataset.input_shape, dataset.inputs.vocabulary) == (2, (25,), 2 + 13)
  # The training words are as frequent, and so in alphabetical order; a word says whose tweet it is, and which.
  x, y = dataset.train.client(0)
  places_in_vocabulary = x[:, 0].tolist()
  assert set(places_in_vocabulary) == set(range(2, 10))
  assert not x[:, 1:].any()
  assert places_in_vocabulary == sorted(places_in_vocabulary)
  assert sorted([*y, *dataset.test.client(0).y]) == [0] * 6 + [1] * 4
  assert dataset.test.client(0).x[:, 0].tolist() == [1, 1]  # no training tweet has these words
  assert dataset.source == f'{places[0]}/{next(iter(files))}, 3 of 3 users with 2 tweets or more'
  assert dataset.paper is None
  reference = load('sent140', data_dir=str(places[0]), min_tweets=2, num_clients=0)
  assert reference.fingerprint == dataset.fingerprint


def test_labels_lie_beside_their_tweets(places):
  write(places[0], **LAYOUTS['csv'])
  rows = sent140_files.read(str(places[0]), 'any', 1)[0]
  assert [user.num_tweets for user in rows] == [10, 5, 2, 1]
  for name, user in zip(COUNTS, rows, strict=True):
    assert user.train.x.tolist() == [word(name, i) for i in range(COUNTS[name])]
    assert user.train.y.tolist() == [int(i % 3 == 0) for i in range(COUNTS[name])]


def test_the_data_seed_draws_users_and_their_test_tweets(places):
  write(places[0], **LAYOUTS['csv'])
  flags = {'data_dir': str(places[0]), 'min_tweets': 2}
  sizes = {tuple(load('sent140', **flags, num_clients=2, data_seed=seed).train.sizes) for seed in range(12)}
  assert sizes == {(8, 4), (8, 1), (4, 1)}
  first, again, other = (load('sent140', **flags, data_seed=seed) for seed in (0, 0, 3))
  assert first.fingerprint == again.fingerprint != other.fingerprint


def test_users_with_few_tweets_are_left_out(places):
  write(places[0], **LAYOUTS['csv'])
  assert load('sent140', data_dir=str(places[0]), min_tweets=5).train.sizes.tolist() == [8, 4]
  with pytest.raises(DataError, match=r'^--min_tweets=31: .*noemoticon\.csv has no user of so many tweets\.'):
    load('sent140', data_dir=str(places[0]))
  with pytest.raises(DataError, match=r'--num_clients=4: .* has 3 users of --min_tweets=2 or more'):
    load('sent140', data_dir=str(places[0]), num_clients=4, min_tweets=2)


def test_leafs_own_files_are_split_already(places):
  train, test = rows_of('bob', 'ann'), {'ann': rows_of('cid')['cid']}
  write(places[1], **{'sent140__data__train__a.json': leaf(train)})
  write(places[1], **{'sent140__data__test__a.json': leaf(test)})
  dataset = load('sent140', min_tweets=2)
  assert dataset.train.sizes.tolist() == [10, 5]  # ann, bob
  assert dataset.test.sizes.tolist() == [2, 0]
  assert dataset.train.client(1).y.tolist() == [1, 0, 0, 1, 0]
  assert dataset.source.startswith(f'{places[1]}/sent140/data, 2 of 2 users')
  assert load('sent140', min_tweets=11).train.sizes.tolist() == [10]  # with those for testing


def test_words_have_vectors_of_a_file(places):
  rows = [('ann', 4, 'Good day'), ('ann', 0, 'good night'), ('ann', 0, 'day, good day')]
  write(places[0], **{sent140_files.CSV: table(rows)})
  write(places[1] / 'glove', **{'a.txt': b'day 1 2\ngood 3 4\nthe 5 6\n'})
  flags = {'data_dir': str(places[0]), 'min_tweets': 3}
  dataset = load('sent140', **flags, word_vectors='a.txt')
  np.testing.assert_array_equal(dataset.inputs.vectors, np.float32([[0, 0], [0, 0], [1, 2], [3, 4]]))
  everything = np.concatenate([dataset.train.examples.x, dataset.test.examples.x])[:, :5].tolist()
  assert sorted(everything) == [[2, 1, 3, 2, 0], [3, 1, 0, 0, 0], [3, 2, 0, 0, 0]]
  with pytest.raises(DataError, match=f'--word_vectors=b.txt is not in {places[0]}, .*, nor in their folders sent140'):
    load('sent140', **flags, word_vectors='b.txt')
  with pytest.raises(UserError, match=r'--word_vectors=glove/a\.txt: the name of a file is needed, without its folder'):
    load('sent140', **flags, word_vectors='glove/a.txt')


def test_what_is_found_first_is_read(places):
  flag, variable, cache = places
  write(cache, **LAYOUTS['jsonl'])
  assert sent140_files.find(None) == ('jsonl', f'{cache}/sent140_a.jsonl')
  write(cache, **LAYOUTS['jsonl.xz'])
  assert sent140_files.find(None) == ('jsonl', f'{cache}/sent140_a.jsonl.xz')
  write(cache, **LAYOUTS['zip'])
  assert sent140_files.find(None) == ('csv', f'{cache}/{sent140_files.ZIP}')
  write(cache, **LAYOUTS['csv'])
  assert sent140_files.find(None) == ('csv', f'{cache}/{sent140_files.CSV}')
  write(cache, **{'train__a.json': leaf({}), 'test__a.json': leaf({})})
  assert sent140_files.find(None) == ('leaf', str(cache))
  assert sent140_files.find(None, 'jsonl') == ('jsonl', f'{cache}/sent140_a.jsonl.xz')
  write(variable / 'sent140', **LAYOUTS['jsonl'])
  assert sent140_files.find(None) == ('jsonl', f'{variable}/sent140/sent140_a.jsonl')
  write(flag, **LAYOUTS['csv'])
  assert sent140_files.find(str(flag)) == ('csv', f'{flag}/{sent140_files.CSV}')


DAMAGED = {
  'five columns': ({sent140_files.CSV: b'"0","1","2","3","4"\r\n'}, r'\.csv: row 1 is no label with five more columns'),
  'no label': ({sent140_files.CSV: table([('a', 3, 'b')])}, r'\.csv: row 1 is no label'),
  'another zip': ({sent140_files.ZIP: archive(name='b.csv')}, r'\.zip cannot be read behind row 0'),
  'no list': ({'sent140_a.jsonl': b'{}\n'}, r'\.jsonl: line 1 is no list of a user, a label and a text'),
  'no JSON': ({'sent140_a.jsonl': b'[1, 0\n'}, r'\.jsonl cannot be read'),
  'cut short': ({'sent140_a.jsonl.xz': lzma.compress(jsonl())[:-20]}, r'\.xz cannot be read'),
}


@pytest.mark.parametrize(('files', 'message'), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(places, files, message):
  write(places[0], **files)
  with pytest.raises(DataError, match=message) as error:
    load('sent140', data_dir=str(places[0]))
  assert '\n' not in str(error.value)


def test_a_layout_that_was_asked_for_and_is_nowhere_is_an_error(places):
  for layout, what in (('leaf', r'train/\*\.json with test'), ('jsonl', r'sent140_\*')):
    with pytest.raises(DataError, match=f'--dataset=sent140: {what}.* is not in {places[0]}, .*, nor in their folders'):
      load('sent140', data_dir=str(places[0]), sent140_source=layout)


def test_a_download_is_kept_once_it_is_whole(places, monkeypatch):
  asked = []

  def urlopen(url):
    asked.append(url)
    return io.BytesIO(archive())

  monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
  with pytest.raises(DataError, match=r'could not be downloaded \(what came has {1: 8, 0: 10} tweets by their labels'):
    load('sent140', min_tweets=2)
  assert os.listdir(places[2] / 'sent140') == []
  monkeypatch.setattr(sent140_files, 'NUM_TWEETS', {0: 10, 1: 8})
  dataset = load('sent140', min_tweets=2)
  assert dataset.train.sizes.tolist() == [8, 4, 1]
  content = (places[2] / 'sent140' / sent140_files.ZIP).read_bytes()
  assert hashlib.sha256(content).digest() == hashlib.sha256(archive()).digest()
  assert load('sent140', min_tweets=2).fingerprint == dataset.fingerprint
  assert asked == [sent140_files.URL] * 2


def test_a_failed_download_says_what_to_do(places, monkeypatch):
  def urlopen(url):
    raise urllib.error.URLError('no route')

  monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
  with pytest.raises(DataError, match=r'Sentiment140 is not on this machine and .*no route.*--data_dir.*alecmgo'):
    load('sent140')
  assert os.listdir(places[2] / 'sent140') == []


REAL = os.environ.get(sources.VARIABLE)
SAMPLE = 'sent140_20k.jsonl.xz'


@pytest.mark.skipif(
  not (REAL and os.path.isfile(os.path.join(REAL, 'sent140', SAMPLE))),
  reason=f'${sources.VARIABLE} names no folder with sent140/{SAMPLE}',
)
def test_the_sample_of_real_tweets():
  dataset = load('sent140', data_dir=REAL, min_tweets=3, sent140_source='jsonl')
  assert dataset.num_clients == 296
  assert len(dataset.train.examples.y) + len(dataset.test.examples.y) == 1052
  assert 2000 < dataset.inputs.vocabulary < 4000
  assert dataset.train.examples.x.max() == dataset.inputs.vocabulary - 1
  assert 0.3 < dataset.train.examples.y.mean() < 0.7
  assert (dataset.train.examples.x[:, 0] != 0).all()
