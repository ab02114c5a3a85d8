# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's events, read back from their files."""

import collections

import pytest
import tensorflow as tf

from fedprox_tff.training.tensorboard import TensorBoard


def write(folder, rounds, offset=0):
  with TensorBoard(folder) as board:
    for round_num in rounds:
      board.write({'a': offset + round_num, 'b': -1.5}, round_num)


def points(folder):
  """Returns the values of each name by step, all that there are."""
  found = collections.defaultdict(list)
  for path in sorted(folder.glob('events.out.tfevents.*')):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      event = tf.compat.v1.Event.FromString(record)
      for value in event.summary.value:
        found[value.tag].append((event.step, float(tf.make_ndarray(value.tensor))))
  return dict(found)


def test_a_row_is_a_point_of_each_name(tmp_path):
  write(tmp_path, range(3))
  assert points(tmp_path) == {'a': [(0, 0.0), (1, 1.0), (2, 2.0)], 'b': [(0, -1.5), (1, -1.5), (2, -1.5)]}


@pytest.mark.parametrize('first', [0, 1, 3, 5])
def test_a_run_that_goes_on_replaces_the_rounds_after_its_checkpoint(tmp_path, first):
  write(tmp_path, range(5))
  write(tmp_path, range(first, 6), offset=10)
  assert sorted(points(tmp_path)['a']) == [(r, r + 10.0 if r >= first else float(r)) for r in range(6)]


def test_a_run_that_goes_on_twice_has_one_point_a_round(tmp_path):
  write(tmp_path, range(5))
  write(tmp_path, range(4, 8), offset=10)
  write(tmp_path, range(2, 9), offset=20)
  assert sorted(points(tmp_path)['a']) == [(0, 0.0), (1, 1.0), *((r, r + 20.0) for r in range(2, 9))]


def test_an_event_that_a_kill_left_without_its_end_is_no_obstacle(tmp_path):
  write(tmp_path, range(5))
  (path,) = tmp_path.iterdir()
  path.write_bytes(path.read_bytes()[:-7])
  write(tmp_path, range(3, 6), offset=10)
  assert sorted(points(tmp_path)['a']) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0), (5, 15.0)]


def test_without_a_row_nothing_is_written(tmp_path):
  write(tmp_path / 'tensorboard', [])
  assert not (tmp_path / 'tensorboard').exists()


def test_what_is_flushed_outlives_a_kill(tmp_path):
  with TensorBoard(tmp_path) as board:
    board.write({'a': 1.0}, 0)
    board.flush()
    assert points(tmp_path) == {'a': [(0, 1.0)]}
