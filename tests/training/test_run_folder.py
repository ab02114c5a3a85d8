# SPDX-License-Identifier: Apache-2.0
"""Whose folder it is, and whether a run in it is done."""

import dataclasses
import json

import numpy as np
import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core import threads
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import ClientSplit, Examples
from fedprox_tff.training import checkpoint_file, run_folder
from fedprox_tff.training.checkpoint_file import Checkpoint
from fedprox_tff.training.run_folder import open_run
from tests.federations import load

DATA = load('digits', data_seed=0)


def config(tmp_path, **values):
  return Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path), 'name': 'run', **values})


def test_config_json_says_what_made_the_results(tmp_path):
  with open_run(config(tmp_path, mu=0.5), DATA):
    pass
  record = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert record['config'] == config(tmp_path, mu=0.5).record()
  assert record['data'] == {'source': DATA.source, 'fingerprint': DATA.fingerprint}
  assert record['versions']['tensorflow-federated'] == '0.87.0'
  assert {'revision', 'command', 'versions'} <= record.keys()


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


def test_another_number_of_threads_is_said(tmp_path, monkeypatch):
  """TensorFlow adds in another order then; the logistic regression has the same bits, a network does not."""
  with open_run(config(tmp_path), DATA) as folder:
    assert folder.record['threads'] == 1
  with open_run(config(tmp_path), DATA) as folder:
    assert folder.notes == []
  monkeypatch.setattr(threads, 'in_use', lambda: 77)
  with open_run(config(tmp_path), DATA) as folder:
    (note,) = folder.notes
  assert 'and has 77 now; the last bits of a network may differ' in note


def test_two_processes_cannot_work_on_one_run(tmp_path):
  refused = pytest.raises(UserError, match='another process is working on this run')
  with open_run(config(tmp_path), DATA), refused, open_run(config(tmp_path), DATA):
    pass


@pytest.mark.parametrize(
  'text',
  [
    *(b'', b'{"config": ', b'{"config": [1, 2]}', b'{"config": {"dataset": "digits"}}', b'[]', b'\xff\xfe\xfd', b'\0'),
    *(b'[' * 100_000, b'{"config": {"dataset": "digits", "algorithm": "fedprox", "rounds": 3}}'),
  ],
)
def test_an_unreadable_config_is_refused_by_name(tmp_path, text):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'config.json').write_bytes(text)
  with pytest.raises(UserError, match=r"config.json is not a run's config"), open_run(config(tmp_path), DATA):
    pass


@pytest.mark.parametrize('rounds', ['"30"', 'null', 'true', '1.5', '[]'])
def test_a_number_of_rounds_that_is_none_is_refused_by_name(tmp_path, rounds):
  with open_run(config(tmp_path), DATA):
    pass
  path = tmp_path / 'run' / 'config.json'
  path.write_text(path.read_text().replace('"rounds": 100', f'"rounds": {rounds}'))
  refused = pytest.raises(
    UserError, match=r"config.json is not a run's config of this version \(its number of rounds is"
  )
  with refused, open_run(config(tmp_path), DATA):
    pass


def test_rows_that_nothing_says_the_run_of_are_refused(tmp_path):
  with open_run(config(tmp_path), DATA) as folder:
    folder.metrics.append({'value': 1}, 0)
  (tmp_path / 'run' / 'config.json').unlink()
  refused = pytest.raises(UserError, match=r'holds a run, but no config.json that says which; choose another --name')
  with refused, open_run(config(tmp_path), DATA):
    pass
  assert (tmp_path / 'run' / 'metrics.csv').exists()


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


def write(config, metrics, **values):
  path = run_folder.folder(config)
  path.mkdir(exist_ok=True)
  (path / 'metrics.csv').write_text(metrics)
  (path / 'config.json').write_text(
    json.dumps({'config': {**config.flat(), **values}, 'data': {'source': 'digits', 'fingerprint': ''}})
  )


@pytest.mark.parametrize(
  ('metrics', 'rounds'),
  [
    ('', 0),
    ('round_num,mu\n', 0),
    ('round_num,mu\n0,1.0\n', 0),
    ('round_num,mu\n0,1.0\n1,1.0\n2,1.0\n', 2),
    ('round_num,mu\n0,1.0\n1,1.0\n2,1.', 1),  # a kill left the last row without its end
    ('round_num,mu\n' + ''.join(f'{i},{"1" * 300}\n' for i in range(1001)), 1000),  # longer than what is read
  ],
)
def test_rounds_done_are_those_of_the_last_whole_row(tmp_path, metrics, rounds):
  run = config(tmp_path, rounds=3)
  assert run_folder.rounds_done(run) == 0
  write(run, metrics)
  assert run_folder.rounds_done(run) == rounds


def test_a_cell_is_done_when_all_rounds_of_this_config_are_there(tmp_path):
  run, whole = config(tmp_path, rounds=3), 'round_num,mu\n0,1.0\n1,1.0\n2,1.0\n3,1.0\n'
  assert not run_folder.is_done(run)
  write(run, whole)
  assert run_folder.is_done(run)
  assert not run_folder.is_done(dataclasses.replace(run, rounds=4))
  assert run_folder.is_done(dataclasses.replace(run, rounds=2))  # a longer run holds the shorter one
  write(run, whole, mu=2.0)
  assert not run_folder.is_done(run)
  (run_folder.folder(run) / 'config.json').write_text('{"config"')
  assert not run_folder.is_done(run)


@pytest.mark.parametrize(
  'metrics',
  [
    'round_num,mu\n0,1.0\n2,1.0\n3,1.0\n',  # a row lost
    'round_num,mu\n0,1.0\n1,1.0\n1,1.0\n2,1.0\n3,1.0\n',  # a row doubled
    '0,1.0\n1,1.0\n2,1.0\n3,1.0\n',  # the header lost
    'round_num,mu\n0,1.0\nrubbish\n2,1.0\n3,1.0\n',
    'round_num,mu\n0,1.0\n1\n2,1.0\n3,1.0\n',
    'round_num,mu\n0,1.0\n1,one\n2,1.0\n3,1.0\n',
    'round_num,mu\n99,1.0\n',
  ],
)
def test_a_cell_with_a_damaged_row_is_not_done(tmp_path, metrics):
  run = config(tmp_path, rounds=3)
  write(run, metrics)
  assert not run_folder.is_done(run)


def test_a_cell_whose_rows_are_not_those_of_its_checkpoint_is_not_done(tmp_path):
  run = config(tmp_path, rounds=3)
  with open_run(run, DATA) as folder:
    for round_num in range(4):
      folder.metrics.append({'value': round_num / 10}, round_num)
    state = {'weights': np.zeros(2, np.float32)}
    checkpoint_file.write(folder.path, Checkpoint(3, folder.record, folder.metrics.text_to(3), state, None))
  assert run_folder.is_done(run)
  path = tmp_path / 'run' / 'metrics.csv'
  path.write_text(path.read_text().replace('2,0.2', '2,0.25'))
  assert not run_folder.is_done(run)
  checkpoint_file.path_of(tmp_path / 'run', 3).unlink()
  assert run_folder.is_done(run)  # then nothing says otherwise


def test_a_home_folder_in_the_name_of_the_results_is_the_users(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert run_folder.folder(config('~/x')) == tmp_path / 'x' / 'run'
  assert run_folder.log_path(config('~/x')) == tmp_path / 'x' / 'run' / 'log.txt'


def test_what_a_kill_left_of_a_file_is_removed(tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / '.0123.tmp').write_text('half')
  with open_run(config(tmp_path), DATA):
    assert sorted(path.name for path in (tmp_path / 'run').iterdir()) == ['.lock', 'config.json']
