# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import ClientSplit, Examples
from fedprox_tff.training.client_states import PLACES, ClientStates
from fedprox_tff.training.run_folder import open_run
from tests.federations import load

DATA = load('digits', data_seed=0)
STATE = {'weights': np.arange(3, dtype=np.float32)}


def config(tmp_path, **values):
  return Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path), 'name': 'run', **values})


def fill(folder, rounds, save=()):
  for round_num in rounds:
    folder.release({'value': round_num / 10, 'other': math.nan}, round_num)
    if round_num in save:
      folder.save({'weights': STATE['weights'] + round_num}, round_num)


def client_states(folder, place='memory'):
  return ClientStates((np.zeros(2, np.float32),), folder.path / 'client_states', place=place)


def fill_with_clients(tmp_path, rounds, save, place='memory'):
  """Writes rounds after each of which client 5 keeps the number of the round, and client 6 what it had in round 1."""
  with open_run(config(tmp_path), DATA) as folder:
    states = client_states(folder, place)
    folder.load(STATE, states)
    for round_num in rounds:
      for client in (5, 6) if round_num == 1 else (5,):
        states.put(client, (np.full(2, round_num, np.float32),), round_num)
      folder.release({'value': round_num / 10, 'other': math.nan}, round_num)
      if round_num in save:
        folder.save({'weights': STATE['weights'] + round_num}, round_num, states.snapshot())
      folder.forget_before(round_num)


def load_with_clients(tmp_path, place='memory'):
  """Returns the newest round and the number that each client then keeps."""
  with open_run(config(tmp_path), DATA) as folder:
    states = client_states(folder, place)
    _, round_num = folder.load(STATE, states)
    return round_num, {client: kept[0][0] for client, kept in states.snapshot().items()}


def lines(tmp_path):
  return (tmp_path / 'run' / 'metrics.csv').read_text().splitlines()


def test_config_json_says_what_made_the_results(tmp_path):
  with open_run(config(tmp_path, mu=0.5), DATA):
    pass
  record = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert record['config'] == config(tmp_path, mu=0.5).as_dict()
  assert record['data'] == {'source': DATA.source, 'fingerprint': DATA.fingerprint}
  assert record['versions']['tensorflow-federated'] == '0.87.0'
  assert {'revision', 'command', 'versions'} <= record.keys()


def test_rows_of_an_earlier_version_get_the_columns_that_came_later(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    folder.release({'b': 1, 'gone': 2}, 0)
  with open_run(config(tmp_path), DATA) as folder:
    folder.release({'b': 3, 'a': 0.5}, 1)
    folder.release({'b': 4, 'a': 0.25}, 2)
  assert lines(tmp_path) == ['round_num,a,b', '0,nan,1', '1,0.5,3', '2,0.25,4']


def test_rows_are_numbers_in_one_order(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    fill(folder, range(3))
    rows = folder.rows()
  assert lines(tmp_path)[0] == 'round_num,other,value'
  assert [(row['round_num'], row['value']) for row in rows] == [(0, 0.0), (1, 0.1), (2, 0.2)]
  assert math.isnan(rows[0]['other'])


def test_resuming_goes_on_from_the_newest_state_and_rewrites_what_came_after_it(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    fill(folder, range(8), save=(0, 2, 5))
  with open_run(config(tmp_path), DATA) as folder:
    state, round_num = folder.load(STATE)
    assert round_num == 5
    assert [line.split(',')[0] for line in lines(tmp_path)] == ['round_num', *'012345']
    np.testing.assert_array_equal(state['weights'], STATE['weights'] + 5)
    folder.release({'value': 60.0, 'other': math.nan}, 6)
  assert [line.split(',')[0] for line in lines(tmp_path)] == ['round_num', *'0123456']
  assert lines(tmp_path)[-1] == '6,nan,60.0'


def test_a_row_torn_by_a_kill_is_cut(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    fill(folder, range(3), save=(2,))
  path = tmp_path / 'run' / 'metrics.csv'
  path.write_bytes(path.read_bytes() + b'3,nan,0.')
  with open_run(config(tmp_path), DATA) as folder:
    assert folder.load(STATE)[1] == 2
    assert [row['round_num'] for row in folder.rows()] == [0, 1, 2]


def test_a_state_whose_rows_are_gone_is_not_trusted(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    fill(folder, range(6), save=(2, 5))
  path = tmp_path / 'run' / 'metrics.csv'
  path.write_text('\n'.join(lines(tmp_path)[:5]) + '\n')  # rounds 0 to 3
  with open_run(config(tmp_path), DATA) as folder:
    assert folder.load(STATE)[1] == 2
  path.unlink()
  with open_run(config(tmp_path), DATA) as folder:
    assert folder.load(STATE) == (None, 0)
    fill(folder, range(3), save=(2,))  # and its place is free again


def test_a_state_of_other_shapes_is_not_trusted(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    fill(folder, range(3), save=(1,))
    assert folder.load({'weights': np.zeros((3, 1), np.float32)}) == (None, 0)


def test_another_config_in_the_same_folder_is_refused_by_name(tmp_path):
  with open_run(config(tmp_path), DATA):
    pass
  refused = pytest.raises(UserError, match=r'another config \(--mu=1.0 there, 0.5 here\); choose another --name')
  with refused, open_run(config(tmp_path, mu=0.5), DATA):
    pass


def test_a_longer_run_continues_a_shorter_one(tmp_path):
  for rounds, recorded in ((50, 50), (500, 500), (20, 500)):
    with open_run(config(tmp_path, rounds=rounds, rounds_per_checkpoint=3), DATA):
      pass
    assert json.loads((tmp_path / 'run' / 'config.json').read_text())['config']['rounds'] == recorded


def test_two_processes_cannot_work_on_one_run(tmp_path):
  refused = pytest.raises(UserError, match='another process is working on this run')
  with open_run(config(tmp_path), DATA), refused, open_run(config(tmp_path), DATA):
    pass


@pytest.mark.parametrize('text', ['{"config": ', '{"config": [1, 2]}', '{"config": {"dataset": "digits"}}', '[]'])
def test_an_unreadable_config_is_refused_by_name(tmp_path, text):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'config.json').write_text(text)
  with pytest.raises(UserError, match=r"config.json is not a run's config"), open_run(config(tmp_path), DATA):
    pass


def test_other_data_in_the_same_folder_are_refused(tmp_path):
  """As two LEAF folders of one name would bring."""
  with open_run(config(tmp_path), DATA):
    pass
  changed = DATA.train.examples.x.copy()
  changed[3, 0, 0, 0] += 1
  train = ClientSplit(Examples(changed, DATA.train.examples.y), DATA.train.offsets)
  other = dataclasses.replace(DATA, train=train)
  with pytest.raises(UserError, match='holds a run on other data'), open_run(config(tmp_path), other):
    pass


def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    fill(folder, range(6), save=(2, 5))
  checkpoints = tmp_path / 'run' / 'checkpoints'
  (checkpoints / 'round_5' / 'saved_model.pb').write_bytes(b'half')
  (checkpoints / 'round_7_temp1234').mkdir()  # what a kill in the middle of a save leaves
  with open_run(config(tmp_path), DATA) as folder:
    assert sorted(path.name for path in checkpoints.iterdir()) == ['round_2', 'round_5']
    assert folder.load(STATE)[1] == 2
    fill(folder, range(3, 6), save=(5,))
  with open_run(config(tmp_path), DATA) as folder:
    assert folder.load(STATE)[1] == 5


@pytest.mark.parametrize('place', PLACES)
def test_clients_states_are_those_of_the_round_that_is_loaded(tmp_path, place):
  fill_with_clients(tmp_path, range(8), save=(0, 2, 5), place=place)
  assert load_with_clients(tmp_path, place) == (5, {5: 5.0, 6: 1.0})
  left = sorted(path.name for path in (tmp_path / 'run' / 'client_states').iterdir())
  assert left == ['5-2.npy', '5-5.npy', '6-1.npy', 'round_2.npy', 'round_5.npy']


@pytest.mark.parametrize('place', PLACES)
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
  for place, other in (PLACES, PLACES[::-1]):
    fill_with_clients(tmp_path / place, range(4), save=(3,), place=place)
    fill_with_clients(tmp_path / place, range(4, 7), save=(6,), place=other)
    assert load_with_clients(tmp_path / place, place) == (6, {5: 6.0, 6: 1.0})


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
  """TensorFlow, which writes the states of the process, has errors of its own for it."""

  def save(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, '{{function_node x}} run/part-0; No space left [Op:SaveV2]')

  monkeypatch.setattr(tf.saved_model, 'save', save)
  with open_run(config(tmp_path), DATA) as folder:
    folder.release({'value': 0.0}, 0)
    with pytest.raises(OSError, match=r'^the state of round 0 cannot be saved: run/part-0; No space left$'):
      folder.save(STATE, 0)
