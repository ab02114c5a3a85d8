# SPDX-License-Identifier: Apache-2.0
"""A run goes on from the newest state that is whole, with the rows and the clients' states of that round."""

import contextlib
import math
import shutil

import numpy as np
import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.config.settings import CLIENT_STATES
from fedprox_tff.core.errors import UserError, line_of
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.client_states import ClientStates
from fedprox_tff.training.run_folder import open_run
from tests.federations import load
from tests.limits import files_of_at_most

DATA = load('digits', data_seed=0)
STATE = {'weights': (np.arange(3, dtype=np.float32), np.float32(0.1)), 'nothing': (), 'count': np.int64(7)}


def state_of(round_num):
  return {**STATE, 'weights': (STATE['weights'][0] + round_num, STATE['weights'][1])}


@contextlib.contextmanager
def opened(tmp_path, said=None, **flags):
  config = Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path), 'name': 'run', **flags})
  with open_run(config, DATA) as folder:
    yield folder, Checkpoints(folder, [].append if said is None else said.append)


def fill(folder, checkpoints, rounds, save=()):
  for round_num in rounds:
    folder.metrics.append({'value': round_num / 10, 'other': math.nan}, round_num)
    if round_num in save:
      checkpoints.save(state_of(round_num), round_num)


def rounds_in_rows(tmp_path):
  return [int(line.split(',')[0]) for line in (tmp_path / 'run' / 'metrics.csv').read_text().splitlines()[1:]]


def files_in(tmp_path, folder):
  return sorted(path.name for path in (tmp_path / 'run' / folder).glob('*'))


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
      folder.metrics.append({'value': round_num / 10, 'other': math.nan}, round_num)
      if round_num in save:
        checkpoints.save(state_of(round_num), round_num, states.snapshot())
      checkpoints.forget_before(round_num)


def load_with_clients(tmp_path, place='memory', said=None):
  """Returns the newest round and the number that each client then keeps."""
  with opened(tmp_path, said) as (folder, checkpoints):
    states = client_states(folder, place)
    _, round_num = checkpoints.load(STATE, states)
    return round_num, {client: kept[0][0] for client, kept in states.snapshot().items()}


def test_resuming_goes_on_from_the_newest_state_and_rewrites_what_came_after_it(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(8), save=(0, 2, 5))
  said = []
  with opened(tmp_path, said) as (folder, checkpoints):
    state, round_num = checkpoints.load(STATE)
    assert round_num == 5
    assert rounds_in_rows(tmp_path) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(state['weights'][0], STATE['weights'][0] + 5)
    assert (state['weights'][1], state['nothing'], state['count']) == (np.float32(0.1), (), 7)
    folder.metrics.append({'value': 60.0, 'other': math.nan}, 6)
  assert rounds_in_rows(tmp_path) == [0, 1, 2, 3, 4, 5, 6]
  assert files_in(tmp_path, 'checkpoints') == ['round_2.ckpt', 'round_5.ckpt']  # the newest two
  assert said == []


def test_a_run_without_a_checkpoint_begins_anew(tmp_path):
  said = []
  with opened(tmp_path, said) as (folder, checkpoints):
    fill(folder, checkpoints, range(8))
  with opened(tmp_path, said) as (_, checkpoints):
    assert checkpoints.load(STATE) == (None, 0)
  assert not (tmp_path / 'run' / 'metrics.csv').exists()
  assert said == []


def test_many_rows_without_a_checkpoint_are_set_aside(tmp_path):
  """As after somebody has removed the checkpoints to begin anew."""
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(30), save=(20,))
  rows = (tmp_path / 'run' / 'metrics.csv').read_bytes()
  shutil.rmtree(tmp_path / 'run' / 'checkpoints')
  said = []
  with opened(tmp_path, said) as (_, checkpoints):
    assert checkpoints.load(STATE) == (None, 0)
  assert (tmp_path / 'run' / 'damaged' / 'metrics.csv').read_bytes() == rows
  assert 'has rows and no checkpoint, so the run begins anew' in said[0]


@pytest.mark.parametrize(
  'other',
  [
    {**STATE, 'weights': (np.zeros((3, 1), np.float32), np.float32(0))},
    {**STATE, 'weights': (np.zeros(3, np.float64), np.float32(0))},
    {**STATE, 'count': ()},
    {'count': np.int64(0), 'nothing': (), 'w': STATE['weights']},
  ],
)
def test_a_state_of_another_form_is_refused(tmp_path, other):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(3), save=(1,))
    with pytest.raises(UserError, match='holds a state of another form'):
      Checkpoints(folder).load(other)
  assert files_in(tmp_path, 'checkpoints') == ['round_1.ckpt']


def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(6), save=(2, 5))
  path, said = tmp_path / 'run' / 'checkpoints', []
  (path / 'round_5.ckpt').write_bytes(b'half')
  (path / '.0123.tmp').write_bytes(b'what a kill in the middle of a save leaves')
  (path / 'notes.txt').write_bytes(b'mine')
  (path / 'round_9').write_bytes(b'of no version')
  with opened(tmp_path, said) as (folder, checkpoints):
    assert checkpoints.load(STATE)[1] == 2
    fill(folder, checkpoints, range(3, 6), save=(5,))  # and its place is free again
  assert files_in(tmp_path, 'checkpoints') == ['notes.txt', 'round_2.ckpt', 'round_5.ckpt', 'round_9']
  assert files_in(tmp_path, 'damaged') == ['metrics.csv', 'round_5.ckpt']
  aside = tmp_path / 'run' / 'damaged' / 'round_5.ckpt'
  reason = f'{path / "round_5.ckpt"} is not a file of this suite'
  assert said == [f'warning: the checkpoint of round 5 is passed over: {reason}. It is kept as {aside}.']
  with opened(tmp_path) as (folder, checkpoints):
    assert checkpoints.load(STATE)[1] == 5


def test_nothing_is_overwritten_in_the_folder_of_damage(tmp_path):
  for number in range(1, 4):
    with opened(tmp_path) as (folder, checkpoints):
      start = checkpoints.load(STATE)[1] + 1 if number > 1 else 0
      fill(folder, checkpoints, range(start, 6), save=(2, 5))
    (tmp_path / 'run' / 'checkpoints' / 'round_5.ckpt').write_bytes(b'damage' * number)
  with opened(tmp_path) as (_, checkpoints):
    assert checkpoints.load(STATE)[1] == 2
  kept = sorted((tmp_path / 'run' / 'damaged').glob('round_5*'))
  assert [path.name for path in kept] == ['round_5.ckpt', 'round_5.ckpt.2', 'round_5.ckpt.3']
  assert [path.read_bytes() for path in kept] == [b'damage' * number for number in range(1, 4)]


def test_damage_to_all_checkpoints_is_refused_and_nothing_is_touched(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(8), save=(2, 5))
  for round_num in (2, 5):
    (tmp_path / 'run' / 'checkpoints' / f'round_{round_num}.ckpt').write_bytes(b'')
  with opened(tmp_path) as (_, checkpoints), pytest.raises(UserError) as error:
    checkpoints.load(STATE)
  assert 'no checkpoint can be used' in str(error.value)
  assert 'round_2.ckpt is empty' in str(error.value)
  assert 'round_5.ckpt is empty' in str(error.value)
  assert '\n' not in str(error.value)
  assert rounds_in_rows(tmp_path) == list(range(8))
  assert files_in(tmp_path, 'checkpoints') == ['round_2.ckpt', 'round_5.ckpt']


@pytest.mark.parametrize('what', ['round', 'config', 'data'])
def test_a_checkpoint_of_another_round_or_run_is_passed_over(tmp_path, what):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(6), save=(2, 5))
  path = tmp_path / 'run' / 'checkpoints'
  if what == 'round':
    shutil.copy(path / 'round_2.ckpt', path / 'round_5.ckpt')
  else:
    other = {'config': {'seed': 1}, 'data': {'data_seed': 1}}[what]
    data = load('digits', data_seed=1) if what == 'data' else DATA
    config = Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path), 'name': 'other', **other})
    with open_run(config, data) as folder:
      fill(folder, Checkpoints(folder), range(6), save=(5,))
    shutil.copy(tmp_path / 'other' / 'checkpoints' / 'round_5.ckpt', path)
  said = []
  with opened(tmp_path, said) as (_, checkpoints):
    assert checkpoints.load(STATE)[1] == 2
  expected = 'it is that of round 2' if what == 'round' else 'is that of another run: --'
  assert expected in said[0]


def test_an_error_to_read_is_not_damage_and_nothing_is_touched(tmp_path):
  """Reading /proc/self/mem from its beginning is a real I/O error."""
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(8), save=(2, 5))
  path = tmp_path / 'run' / 'checkpoints' / 'round_5.ckpt'
  path.rename(tmp_path / 'away')
  path.symlink_to('/proc/self/mem')
  with opened(tmp_path) as (_, checkpoints), pytest.raises(OSError, match='Input/output error') as error:
    checkpoints.load(STATE)
  assert line_of(error.value) == f'{path}: Input/output error'
  (tmp_path / 'away').replace(path)
  with opened(tmp_path) as (_, checkpoints):
    assert checkpoints.load(STATE)[1] == 5


@pytest.mark.parametrize('place', CLIENT_STATES)
def test_clients_states_are_those_of_the_round_that_is_loaded(tmp_path, place):
  fill_with_clients(tmp_path, range(8), save=(0, 2, 5), place=place)
  assert load_with_clients(tmp_path, place) == (5, {5: 5.0, 6: 1.0})
  assert files_in(tmp_path, 'client_states') == ['5-2.state', '5-5.state', '6-1.state']


@pytest.mark.parametrize('place', CLIENT_STATES)
@pytest.mark.parametrize('content', [None, b'', b'\x93NUMPY', b'half'])
def test_a_round_whose_clients_states_are_damaged_is_passed_over_for_the_one_before(tmp_path, place, content):
  fill_with_clients(tmp_path, range(8), save=(2, 5), place=place)
  path = tmp_path / 'run' / 'client_states' / '5-5.state'
  path.unlink() if content is None else path.write_bytes(content)
  assert load_with_clients(tmp_path, place) == (2, {5: 2.0, 6: 1.0})
  kept = [] if content is None else ['5-5.state']
  later = ['5-7.state'] if place == 'disk' else []  # good, but of no use without the others
  assert files_in(tmp_path, 'damaged/client_states') == [*kept, *later]
  fill_with_clients(tmp_path, range(3, 6), save=(5,), place=place)  # and its place is free again
  assert load_with_clients(tmp_path, place) == (5, {5: 5.0, 6: 1.0})


def test_damage_to_an_older_round_is_in_nobodys_way(tmp_path):
  fill_with_clients(tmp_path, range(6), save=(2, 5))
  (tmp_path / 'run' / 'client_states' / '5-2.state').write_bytes(b'')
  (tmp_path / 'run' / 'checkpoints' / 'round_2.ckpt').write_bytes(b'')
  said = []
  assert load_with_clients(tmp_path, said=said) == (5, {5: 5.0, 6: 1.0})
  assert [line[:47] for line in said] == ['warning: the checkpoint of round 2 is passed over'[:47]]
  fill_with_clients(tmp_path, range(6, 8), save=(7,))
  assert load_with_clients(tmp_path) == (7, {5: 7.0, 6: 1.0})


def test_a_state_that_one_client_needs_in_all_saved_rounds_is_needed_by_them_all(tmp_path):
  fill_with_clients(tmp_path, range(6), save=(2, 5))
  (tmp_path / 'run' / 'client_states' / '6-1.state').unlink()
  with pytest.raises(UserError, match=r'client_states/6-1\.state is missing; .*client_states/6-1\.state is missing'):
    load_with_clients(tmp_path)
  assert files_in(tmp_path, 'client_states') == ['5-2.state', '5-5.state']


def test_a_state_saved_without_clients_states_is_not_trusted_where_clients_keep_something(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(3), save=(2,))
  with pytest.raises(UserError, match='does not say what clients keep'):
    load_with_clients(tmp_path)


def test_a_run_may_change_where_its_clients_states_are(tmp_path):
  for place, other in (CLIENT_STATES, CLIENT_STATES[::-1]):
    fill_with_clients(tmp_path / place, range(4), save=(3,), place=place)
    fill_with_clients(tmp_path / place, range(4, 7), save=(6,), place=other)
    assert load_with_clients(tmp_path / place, place) == (6, {5: 6.0, 6: 1.0})


def test_a_lost_config_is_written_again_from_a_checkpoint_and_stays_that_of_the_run(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(3), save=(2,))
  path = tmp_path / 'run' / 'config.json'
  before = path.read_bytes()
  for content, aside in ((None, []), (b'{"config": ', ['config.json'])):
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=r'another config \(--mu=1.0 there, 0.5 here\)'), opened(tmp_path, mu=0.5):
      pass
    assert (path.read_bytes() if path.exists() else None) == content
    with opened(tmp_path) as (folder, checkpoints):
      assert 'It is written again from a checkpoint.' in folder.notes[0]
      assert checkpoints.load(STATE)[1] == 2
    assert path.read_bytes() == before
    assert files_in(tmp_path, 'damaged') == aside


def test_a_full_disk_is_one_line(tmp_path):
  with opened(tmp_path) as (folder, checkpoints):
    fill(folder, checkpoints, range(2), save=(1,))
    folder.metrics.append({'value': 0.2, 'other': math.nan}, 2)
    with pytest.raises(OSError, match='the state of round 2 cannot be saved') as error, files_of_at_most(100):
      checkpoints.save(STATE, 2)
    file = tmp_path / 'run' / 'checkpoints' / 'round_2.ckpt'
    assert line_of(error.value) == f'{file}: the state of round 2 cannot be saved: File too large'
  with opened(tmp_path) as (_, checkpoints):
    assert checkpoints.load(STATE)[1] == 1
