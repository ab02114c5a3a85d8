# SPDX-License-Identifier: Apache-2.0
"""What a worker refuses, and what it puts in the place of what is shared; without a cluster."""

import hashlib
import os
import socket

import numpy as np
import pytest

from fedprox_tff.cluster.loaded import Loaded
from fedprox_tff.cluster.place import Place, here
from fedprox_tff.cluster.round_worker import Machine, RoundWorker, Shared
from fedprox_tff.cluster.versions import versions
from fedprox_tff.core import threads
from fedprox_tff.core.errors import UserError


class Kept:
  """An errand that finds some numbers."""

  def __init__(self, numbers):
    self._numbers = numbers

  def read(self):
    return self._numbers


@pytest.fixture
def worker(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # comes back after the test
  return RoundWorker(Machine('cpu', threads.wanted(), here()))


def test_paths_count_from_where_the_command_was_given(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'there').mkdir()
  RoundWorker(Machine('cpu', threads.wanted(), Place(str(tmp_path / 'there'), {})))
  assert os.getcwd() == str(tmp_path / 'there')
  RoundWorker(Machine('cpu', threads.wanted(), Place(str(tmp_path / 'none'), {})))
  assert os.getcwd() == str(tmp_path / 'there')


def test_the_variables_of_its_node_count_before_those_of_the_command(monkeypatch):
  monkeypatch.setenv('FEDPROX_A', 'of the node')
  monkeypatch.delenv('FEDPROX_B', raising=False)
  RoundWorker(Machine('cpu', threads.wanted(), Place(os.getcwd(), {'FEDPROX_A': 'sent', 'FEDPROX_B': 'sent'})))

  assert (os.environ['FEDPROX_A'], os.environ.pop('FEDPROX_B')) == ('of the node', 'sent')


def test_it_refuses_other_data_versions_and_disks_by_the_name_of_its_node(worker, tmp_path):
  node = f'node {socket.gethostname()}'
  with pytest.raises(UserError, match=f'^{node} has other data'):
    worker.load(lambda: Loaded([np.zeros(1)], 'theirs', 'somewhere'), 'ours')
  worker.check(versions())
  with pytest.raises(UserError, match=rf'^{node} has tensorflow .+, and 9\.9 is needed'):
    worker.check(versions() | {'tensorflow': '9.9'})
  path = tmp_path / 'file'
  path.write_bytes(b'content')
  digest = hashlib.sha256(b'content').hexdigest()
  worker.see(str(path), digest, 'why')
  for wrong in ((path, 'another'), (tmp_path / 'none', digest), (tmp_path, digest)):
    with pytest.raises(UserError, match=f'^{node} does not see {wrong[0]}; why$'):
      worker.see(str(wrong[0]), wrong[1], 'why')


def test_what_an_errand_finds_takes_the_place_of_the_initial_state(worker):
  """The first shared array is data; the others are the initial state, a vector and a number."""
  worker.load(lambda: Loaded([np.float32([9, 9, 9])], 'ours', 'somewhere'), 'ours')
  worker.take_initial_state([np.float32([1, 2]), np.float32(3)])
  client = [np.int32(5), Shared(0), Shared(2), Shared(1)]
  assert values(worker, client, None) == [5, [9, 9, 9], 3, [1, 2]]
  assert values(worker, client, Kept(None)) == [5, [9, 9, 9], 3, [1, 2]]
  assert values(worker, client, Kept(np.float32([4, 5, 6]))) == [5, [9, 9, 9], 6, [4, 5]]


def values(worker, client, errand):
  return [tensor.numpy().tolist() for tensor in worker._tensors(client, errand)]
