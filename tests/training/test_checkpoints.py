# SPDX-License-Identifier: Apache-2.0
"""A run goes on from the newest state that is whole, with the rows and the clients' states of that round."""

import contextlib
import math
import shutil

import numpy as np
import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.config.settings import CLIENT_STATES
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.client_states import ClientStates
from fedprox_tff.training.run_folder import open_run
from tests.federations import load
from tests.limits import files_of_at_most

DATA = load('digits', data_seed=0)
STATE = {'weights': np.arange(3, dtype=np.float32)}


@contextlib.contextmanager
def opened(tmp_path):
  config = Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path), 'name': 'run'})
  with open_run(config, DATA) as folder, Checkpoints(folder) as checkpoints:
    yield folder, checkpoints


def fill(folder, checkpoints, rounds, save=()):
  for round_num in rounds:
    folder.append({'value': round_num / 10, 'other': math.nan}, round_num)
    if round_num in save:
      checkpoints.save({'weights': STATE['weights'] + round_num}, round_num)


def lines(tmp_path):
  return (tmp_path / 'run' / 'metrics.csv').read_text().splitlines()


def client_states(folder, place='memory'):
  return ClientStates((np.zeros(2, np.float32),), folder.path / 'client_states', place=place)


def fill_with_clients(tmp_path, rounds, save, place='memory'):
  """Writes rounds after each of which client 5 keeps the number of the round, and client 6 what it had in round 1."""
  with opened(tmp_path) as (folder, checkpoints):
    states = client_states(folder, place)
    checkpoints.load(STATE, states)
    for round_num in rounds:
      for client in (5, 6) if round_num == 1 else (5,):
        states.put(client, (np.full(2, round_num, np.float32),), round_num)
      folder.append({'value': round_num / 10, 'other': math.nan}, round_num)
      if round_num in save:
        checkpoints.save({'weights': STATE['weights'] + round_num}, round_num, states.snapshot())
      checkpoints.forget_before(round_num)


def load_with_clients(tmp_path, place='memory'):
  """Returns the newest round and the number that each client then keeps."""
  with opened(tmp_path) as (folder, checkpoints):
    states = client_states(folder, place)
    _, round_num = checkpoints.load(STATE, states)
    return round_num, {client: kept[0][0] for client, kept in states.snapshot().items()}


def test_resuming_goes_on_from_the_newest_state_and_rewrites_what_came_after_it(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(8), save=(0, 2, 5))
  with opened(tmp_path) as (folder, checkpoints):
    state, round_num = checkpoints.load(STATE)
    assert round_num == 5
    assert [line.split(',')[0] for line in lines(tmp_path)] == ['round_num', *'012345']
    np.testing.assert_array_equal(state['weights'], STATE['weights'] + 5)
    folder.append({'value': 60.0, 'other': math.nan}, 6)
  assert [line.split(',')[0] for line in lines(tmp_path)] == ['round_num', *'0123456']
  assert lines(tmp_path)[-1] == '6,nan,60.0'


def test_a_state_whose_rows_are_gone_is_not_trusted(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(6), save=(2, 5))
  path = tmp_path / 'run' / 'metrics.csv'
  path.write_text('\n'.join(lines(tmp_path)[:5]) + '\n')  # rounds 0 to 3
  with opened(tmp_path) as (folder, checkpoints):
    assert checkpoints.load(STATE)[1] == 2
  path.unlink()
  with opened(tmp_path) as (folder, checkpoints):
    assert checkpoints.load(STATE) == (None, 0)
    fill(folder, checkpoints, range(3), save=(2,))  # and its place is free again


def test_a_state_of_other_shapes_is_not_trusted(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(3), save=(1,))
    assert checkpoints.load({'weights': np.zeros((3, 1), np.float32)}) == (None, 0)


def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(6), save=(2, 5))
  path = tmp_path / 'run' / 'checkpoints'
  (path / 'round_5' / 'saved_model.pb').write_bytes(b'half')
  (path / 'round_7_temp1234').mkdir()  # what a kill in the middle of a save leaves
  with opened(tmp_path) as (folder, checkpoints):
    assert sorted(saved.name for saved in path.iterdir()) == ['round_2', 'round_5']
    assert checkpoints.load(STATE)[1] == 2
    fill(folder, checkpoints, range(3, 6), save=(5,))
  with opened(tmp_path) as (folder, checkpoints):
    assert checkpoints.load(STATE)[1] == 5


@pytest.mark.parametrize('place', CLIENT_STATES)
def test_clients_states_are_those_of_the_round_that_is_loaded(tmp_path, place):
  fill_with_clients(tmp_path, range(8), save=(0, 2, 5), place=place)
  assert load_with_clients(tmp_path, place) == (5, {5: 5.0, 6: 1.0})
  left = sorted(path.name for path in (tmp_path / 'run' / 'client_states').iterdir())
  assert left == ['5-2.npy', '5-5.npy', '6-1.npy', 'round_2.npy', 'round_5.npy']


@pytest.mark.parametrize('place', CLIENT_STATES)
@pytest.mark.parametrize('file', ['5-5.npy', 'round_5.npy'])
@pytest.mark.parametrize('content', [None, b'', b'\x93NUMPY', b'half'])
def test_a_round_whose_clients_states_are_damaged_is_passed_over_for_the_one_before(tmp_path, place, file, content):
  fill_with_clients(tmp_path, range(8), save=(2, 5), place=place)
  path = tmp_path / 'run' / 'client_states' / file
  path.unlink() if content is None else path.write_bytes(content)
  assert load_with_clients(tmp_path, place) == (2, {5: 2.0, 6: 1.0})
  fill_with_clients(tmp_path, range(3, 6), save=(5,), place=place)  # and its place is free again
  assert load_with_clients(tmp_path, place) == (5, {5: 5.0, 6: 1.0})


@pytest.mark.parametrize('file', ['5-2.npy', 'round_2.npy'])
def test_damage_to_an_older_round_is_in_nobodys_way(tmp_path, file):
  fill_with_clients(tmp_path, range(6), save=(2, 5))
  (tmp_path / 'run' / 'client_states' / file).write_bytes(b'')
  assert load_with_clients(tmp_path) == (5, {5: 5.0, 6: 1.0})
  fill_with_clients(tmp_path, range(6, 8), save=(7,))
  assert load_with_clients(tmp_path) == (7, {5: 7.0, 6: 1.0})


def test_a_state_that_one_client_needs_in_all_saved_rounds_is_needed_by_them_all(tmp_path):
  fill_with_clients(tmp_path, range(6), save=(2, 5))
  (tmp_path / 'run' / 'client_states' / '6-1.npy').unlink()
  assert load_with_clients(tmp_path) == (0, {})
  assert not list((tmp_path / 'run' / 'client_states').iterdir())


def test_a_state_saved_without_clients_states_is_not_trusted_where_clients_keep_something(tmp_path):
  """As by a version of this suite that had no place for them."""
  fill_with_clients(tmp_path, range(6), save=(2, 5))
  shutil.rmtree(tmp_path / 'run' / 'client_states')
  assert load_with_clients(tmp_path) == (0, {})
  fill_with_clients(tmp_path, range(3), save=(2,))
  assert load_with_clients(tmp_path) == (2, {5: 2.0, 6: 1.0})


def test_a_run_may_change_where_its_clients_states_are(tmp_path):
  for place, other in (CLIENT_STATES, CLIENT_STATES[::-1]):
    fill_with_clients(tmp_path / place, range(4), save=(3,), place=place)
    fill_with_clients(tmp_path / place, range(4, 7), save=(6,), place=other)
    assert load_with_clients(tmp_path / place, place) == (6, {5: 6.0, 6: 1.0})


def test_a_full_disk_is_one_line(tmp_path):
  """TensorFlow, which writes the states of the process, has errors of its own for it."""
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(2), save=(1,))
    folder.append({'value': 0.2, 'other': math.nan}, 2)
    refused = pytest.raises(OSError, match=r'^the state of round 2 cannot be saved: .*File too large$')
    with refused as error, files_of_at_most(100):
      checkpoints.save(STATE, 2)
    assert '\n' not in str(error.value)
  with opened(tmp_path) as (_, checkpoints):
    assert checkpoints.load(STATE)[1] == 1
