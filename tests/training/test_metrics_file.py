# SPDX-License-Identifier: Apache-2.0
"""Rows are read strictly: damage is named by its line, and what a checkpoint vouches for is there again."""

import math

import pytest

from fedprox_tff.training import metrics_file
from fedprox_tff.training.metrics_file import MetricsFile
from tests.limits import files_of_at_most

TEXT = b'round_num,a,b\n0,nan,0.1\n1,2,0.2\n2,3,0.30000000000000004\n'
LATER = TEXT + b'3,4,0.5\n4,5,0.6\n'


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'metrics.csv'


def append(file, rounds):
  for round_num in rounds:
    file.append({'b': round_num / 10, 'a': round_num}, round_num)


def test_rows_have_their_columns_in_one_order_and_numbers_in_full(path):
  file = MetricsFile(path)
  file.append({'b': 0.1, 'a': math.nan}, 0)
  file.append({'a': 2, 'b': 0.2}, 1)
  file.append({'a': 3, 'b': 0.1 + 0.2}, 2)
  assert path.read_bytes() == TEXT
  assert [row['b'] for row in file.rows()] == [0.1, 0.2, 0.1 + 0.2]
  assert file.text_to(0) == TEXT[:24]
  assert file.text_to(2) == TEXT
  assert metrics_file.read(path.parent).rows[1:] == file.rows()[1:]


@pytest.mark.parametrize(
  ('content', 'num_rows', 'flaw'),
  [
    (b'', 0, ''),
    (TEXT, 3, ''),
    (TEXT.replace(b'\n', b'\r\n'), 3, ''),
    (TEXT[:-1], 2, 'line 4: it has no end'),
    (TEXT[14:], 0, 'line 1: a header is needed, round_num and the names of other columns'),
    (TEXT.replace(b'a,b', b'a,a'), 0, 'line 1: a header is needed, round_num and the names of other columns'),
    (b'\xef\xbb\xbf' + TEXT, 0, 'line 1: a header is needed, round_num and the names of other columns'),
    (TEXT.replace(b',', b';'), 0, 'line 1: a header is needed, round_num and the names of other columns'),
    (TEXT.replace(b'1,2,0.2\n', b''), 1, 'line 3: it has round 2, where 1 is due'),
    (TEXT.replace(b'1,2,0.2\n', b'1,2,0.2\n1,2,0.2\n'), 2, 'line 4: it has round 1, where 2 is due'),
    (TEXT.replace(b'1,2', b'\n1,2'), 1, 'line 3: it has 1 fields, and the header 3'),
    (TEXT.replace(b'2,0.2', b'2,0.2,7'), 1, 'line 3: it has 4 fields, and the header 3'),
    (TEXT.replace(b'2,0.2', b'2,0;2'), 1, "line 3: b is '0;2', not a number"),
    (TEXT.replace(b'2,0.2', b'2,"0,2"'), 1, 'line 3: it has 4 fields, and the header 3'),
    (TEXT.replace(b'2,0.2', b'2,\x000.2'), 1, "line 3: b is '\\x000.2', not a number"),
    (TEXT.replace(b'2,0.2', b'2,0\xff2'), 1, 'line 3: it is not text'),
    (TEXT.replace(b'1,2', b'1.5,2'), 1, 'line 3: it has round 1.5, where 1 is due'),
  ],
)
def test_the_whole_rows_are_those_before_the_first_flaw(content, num_rows, flaw):
  rows = metrics_file.parse(content)
  assert (len(rows.rows), rows.flaw) == (num_rows, flaw)


@pytest.mark.parametrize('end', [b'', b'3,4,0.5\n', b'3,4,0.5\n4,', b'rubbish\n', bytes(100)])
def test_what_came_after_a_checkpoint_is_removed_without_a_word(path, end):
  path.write_bytes(TEXT + end)
  file = MetricsFile(path)
  assert file.restore(TEXT, path.parent / 'aside') == ''
  assert path.read_bytes() == TEXT
  assert not (path.parent / 'aside').exists()
  append(file, [3])
  assert path.read_bytes() == TEXT + b'3,3,0.3\n'


def test_what_came_later_is_kept_where_a_newer_checkpoint_was_passed_over(path):
  path.write_bytes(LATER)
  assert MetricsFile(path).restore(TEXT, path.parent / 'aside', keep_later=True) == ''
  assert path.read_bytes() == TEXT
  assert (path.parent / 'aside' / 'metrics.csv').read_bytes() == LATER


@pytest.mark.parametrize(
  ('found', 'flaw'),
  [
    (None, 'line 2: it ends before'),
    (b'', 'line 2: it ends before'),
    (TEXT[:24], 'line 3: it ends before'),
    (TEXT[:-2], 'line 4: it has no end'),
    (LATER.replace(b'0.2\n', b'0.25\n'), 'line 3: b is 0.25, where the run wrote 0.2'),
    (LATER.replace(b'0.30000000000000004', b'0.3'), 'line 4: b is 0.3, where the run wrote 0.30000000000000004'),
    (LATER.replace(b'0,nan,', b'0,1.0,'), 'line 2: a is 1.0, where the run wrote nan'),
    (b'round_num,a\n0,nan\n1,2\n2,3\n', 'line 2: b is not there, where the run wrote 0.1'),
    (TEXT.replace(b'1,2,0.2\n', b''), 'line 3: it has round 2, where 1 is due'),
    (TEXT[14:], 'line 1: a header is needed, round_num and the names of other columns'),
  ],
)
def test_a_damaged_file_is_set_aside_and_restored(path, found, flaw):
  if found is not None:
    path.write_bytes(found)
  file = MetricsFile(path)
  assert file.restore(TEXT, path.parent / 'aside') == flaw
  assert path.read_bytes() == file.text_to(2) == TEXT
  aside = path.parent / 'aside' / 'metrics.csv'
  assert (aside.read_bytes() if aside.exists() else None) == (found or None)
  append(file, [3])
  assert path.read_bytes() == TEXT + b'3,3,0.3\n'


def test_the_same_numbers_in_another_hand_are_no_damage(path):
  """Columns that came later are NaN; an editor may have changed the ends of lines."""
  text = b'round_num,a,b,later\r\n0,nan,1e-1,nan\r\n1,2.0,0.2,nan\r\n2,3,0.30000000000000004,nan\r\n'
  path.write_bytes(text)
  assert MetricsFile(path).restore(TEXT, path.parent / 'aside') == ''
  assert path.read_bytes() == text


def test_rows_of_an_earlier_version_get_the_columns_that_came_later(path):
  path.write_bytes(b'round_num,b,gone\n0,1,2\n')
  file = MetricsFile(path)
  assert file.take_up(1) == ''
  file.append({'b': 3, 'a': 0.5}, 1)
  file.append({'b': 4, 'a': 0.25}, 2)
  assert path.read_text() == 'round_num,a,b\n0,nan,1\n1,0.5,3\n2,0.25,4\n'


def test_rows_that_are_not_there_cannot_be_taken_up(path):
  path.write_bytes(TEXT.replace(b'2,3,', b'3,3,'))
  file = MetricsFile(path)
  assert file.take_up(3) == 'line 4: it has round 3, where 2 is due'
  assert file.take_up(2) == ''
  assert path.read_bytes() == TEXT[:32]


def test_a_full_disk_leaves_the_rows_as_they_were(path):
  path.write_bytes(LATER.replace(b'0.2\n', b'0.25\n'))
  before = path.read_bytes()
  with pytest.raises(OSError, match='File too large'), files_of_at_most(20):
    MetricsFile(path).restore(TEXT, path.parent / 'aside')
  left = [file.read_bytes() for file in path.parent.rglob('metrics.csv')]
  assert left == [before]
