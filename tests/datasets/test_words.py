# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import tweets, words
from fedprox_tff.datasets.base import Examples

GLOVE = 'the 0.5 -1 2e-1\ngood 1 2 3\n. . . 7 7 7\nday 4 5 6\nwasnt 9 9 9\n'


@pytest.fixture
def glove(tmp_path):
  path = tmp_path / 'glove.txt'
  path.write_text(GLOVE)
  return path


def test_words_and_marks_are_split():
  text = "@ann Isn't it GREAT?! http://t.co/x_1 ;-) naïve 100%..."
  assert words.split(text) == [
    *['ann', "isn't", 'it', 'great', '?', '!', 'http', 't', '.', 'co', 'x_1', ';', 'naïve', '100', '.', '.', '.']
  ]
  assert words.split(' \n#') == []


def test_frequent_words_come_first_and_equal_ones_by_the_alphabet():
  texts = [['b', 'a', 'c'], ['b', 'd'], ['a', 'e', 'b']]
  assert words.most_frequent(texts) == ['b', 'a', 'c', 'd', 'e']
  assert words.most_frequent(texts, 3) == ['b', 'a', 'c']


def test_texts_are_cut_and_padded():
  places = words.places_of(['b', 'a'])
  assert places == {'b': 2, 'a': 3}
  encoded = words.encode([['a', 'x', 'b', 'a'], [], ['b']], places, 3)
  assert encoded.tolist() == [[3, 1, 2], [0, 0, 0], [2, 0, 0]]
  assert encoded.dtype == np.int32


def test_vectors_of_wanted_words_are_read(glove):
  vectors = words.read_vectors(str(glove), ['good', 'the', '.', 'night'])
  assert {word: vector.tolist() for word, vector in vectors.items()} == {
    'the': [0.5, -1, np.float32(0.2)],
    'good': [1, 2, 3],
  }
  assert vectors['the'].dtype == np.float32


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('night 1 2', 'glove.txt: line 6 is no word with 3 finite numbers'),
    ('night 1 2 x', 'line 6 is no word with 3'),
    ('night 1 2 nan', 'line 6 is no word'),
    ('night', 'line 6 is no word'),
  ],
)
def test_malformed_vectors_are_refused(glove, line, message):
  glove.write_text(f'{GLOVE}{line}\n')
  with pytest.raises(DataError, match=message):
    words.read_vectors(str(glove), ['good', 'night'])
  assert list(words.read_vectors(str(glove), ['good'])) == ['good']


def test_files_without_vectors_are_refused(glove):
  with pytest.raises(DataError, match=r'glove\.txt has no vector of any of the 2 words'):
    words.read_vectors(str(glove), ['night', 'fall'])
  glove.write_bytes(b'good \xff\xfe 2 3\n')
  with pytest.raises(DataError, match=r'glove\.txt cannot be read'):
    words.read_vectors(str(glove), ['good'])
  with pytest.raises(DataError, match=r'nowhere cannot be read'):
    words.read_vectors(str(glove.parent / 'nowhere'), ['good'])


def texts(*lines):
  return Examples(np.array(lines, object), np.arange(len(lines), dtype=np.int32))


TRAIN = [texts('Good day', 'a good night'), texts('good good night!')]
TEST = [texts('the day night'), texts()]


def test_a_vocabulary_without_vectors_is_of_the_training_texts():
  train, test, inputs = tweets.encode(TRAIN, TEST)  # good 4, night 2, ! a day 1
  assert [client.x[:, :4].tolist() for client in train] == [[[2, 6, 0, 0], [5, 2, 3, 0]], [[2, 2, 3, 4]]]
  assert [client.x[:, :4].tolist() for client in test] == [[[1, 6, 3, 0]], []]
  assert [client.y.tolist() for client in train] == [[0, 1], [0]]
  assert (inputs.kind, inputs.vocabulary, inputs.vectors) == ('tokens', 7, None)
  train, _, inputs = tweets.encode(TRAIN, TEST, num_words=2)
  assert train[1].x[0, :5].tolist() == [2, 2, 3, 1, 0]
  assert inputs.vocabulary == 4


def test_a_vocabulary_with_vectors_is_of_the_words_that_have_one(glove):
  train, test, inputs = tweets.encode(TRAIN, TEST, vectors_path=str(glove))  # good 4, day 2, the 1
  assert train[0].x[:, :4].tolist() == [[2, 3, 0, 0], [1, 2, 1, 0]]
  assert test[0].x[:, :4].tolist() == [[4, 3, 1, 0]]
  assert inputs.vocabulary == 5
  np.testing.assert_array_equal(
    inputs.vectors, np.float32([[0, 0, 0], [0, 0, 0], [1, 2, 3], [4, 5, 6], [0.5, -1, 0.2]])
  )
  assert inputs.vectors.dtype == np.float32
  _, test, inputs = tweets.encode(TRAIN, TEST, vectors_path=str(glove), num_words=2)
  assert test[0].x[:, :4].tolist() == [[1, 3, 1, 0]]
  assert inputs.vectors.shape == (4, 3)
