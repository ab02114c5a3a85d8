# SPDX-License-Identifier: Apache-2.0
"""What workers of a cluster read and write themselves of what clients keep."""

import pathlib
import pickle

import numpy as np
import pytest

from fedprox_tff.core.errors import DamagedError
from fedprox_tff.training.client_states import ClientStates
from fedprox_tff.training.state_files import Errand

INITIAL = (np.float32([1, 2]), np.float32(3))
NEWER = (np.float32([4, 5]), np.float32(6))


def make(folder):
  return ClientStates(INITIAL, folder / 'client_states', place='disk')


def elsewhere(errand):
  """Returns an errand as another process has it."""
  return pickle.loads(pickle.dumps(errand))


def test_what_a_worker_writes_is_what_the_run_reads_and_the_other_way_around(tmp_path):
  states = make(tmp_path)
  first = elsewhere(states.snapshot().errand(7, 1))
  assert first.read() is None
  digest = first.write(NEWER, INITIAL)
  assert 7 not in states.snapshot()  # until the run hears of it
  states.put_file(7, digest, 1)
  assert [leaf.tolist() for leaf in states.snapshot()[7]] == [[4.0, 5.0], 6.0]
  assert elsewhere(states.snapshot().errand(7, 2)).read().tolist() == [4.0, 5.0, 6.0]


def test_it_writes_the_bytes_that_the_run_would_have_written(tmp_path):
  here, there = make(tmp_path / 'here'), make(tmp_path / 'there')
  here.put(7, NEWER, 1)
  there.put_file(7, elsewhere(there.snapshot().errand(7, 1)).write(NEWER, INITIAL), 1)
  one, other = (states.files.path(7, 1).read_bytes() for states in (here, there))
  assert one == other


def test_the_initial_state_costs_no_space_until_there_was_another(tmp_path):
  states = make(tmp_path)
  assert states.snapshot().errand(7, 1).write(INITIAL, INITIAL) is None
  states.put_file(7, None, 1)
  assert dict(states.snapshot()) == {}
  states.put_file(7, states.snapshot().errand(7, 1).write(NEWER, INITIAL), 1)
  assert states.snapshot().errand(7, 2).write(INITIAL, INITIAL) is not None


def test_a_client_that_keeps_what_it_has_writes_nothing(tmp_path):
  states = make(tmp_path)
  assert states.snapshot().errand(7, None).write(NEWER, INITIAL) is None
  reading = states.snapshot().errand(7, 1).reading()
  assert (reading.client, reading.write(NEWER, INITIAL)) == (7, None)
  assert not (tmp_path / 'client_states').exists()


def test_a_worker_finds_the_folder_from_anywhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  states = ClientStates(INITIAL, pathlib.Path('client_states'), place='disk')
  errand = elsewhere(states.snapshot().errand(7, 1))
  monkeypatch.chdir('/')
  assert errand.write(NEWER, INITIAL)
  assert (tmp_path / 'client_states' / '7-1.state').exists()


def test_a_worker_notices_damage(tmp_path):
  states = make(tmp_path)
  states.put(7, NEWER, 1)
  errand = states.snapshot().errand(7, 2)
  path = states.files.path(7, 1)
  path.write_bytes(path.read_bytes()[:-1] + b'x')
  with pytest.raises(DamagedError, match=str(path)):
    errand.read()
  other = Errand(states.files, 7, (1, b'0' * 32), 2)
  with pytest.raises(DamagedError):
    other.read()
