# SPDX-License-Identifier: Apache-2.0
"""How far cells are, and which of them lie together."""

import dataclasses
import json

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.machine import locks
from fedprox_tff.sweeps import status
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.training import data
from fedprox_tff.training.run_folder import folder


@pytest.fixture
def config(tmp_path):
  return Config.from_flags({'dataset': 'digits', 'rounds': 3, 'results_dir': str(tmp_path)})


def write(config, metrics):
  path = folder(config)
  path.mkdir(exist_ok=True)
  (path / 'metrics.csv').write_text(metrics)
  (path / 'config.json').write_text(
    json.dumps({'config': config.record(), 'data': {'source': 'digits', 'fingerprint': ''}})
  )


def test_cells_that_share_data_and_computations_lie_together():
  flags = [
    {'dataset': 'digits', 'mu': 0.0},
    {'dataset': 'synthetic'},
    {'dataset': 'digits', 'algorithm': 'fedavg'},
    {'dataset': 'digits', 'data_seed': 1},
    {'dataset': 'digits', 'mu': 1.0, 'seed': 3, 'stragglers': 0.5, 'learning_rate': 0.1},
  ]
  configs = [Config.from_flags(values) for values in flags]
  assert status.arrange(configs) == [configs[i] for i in (0, 4, 1, 2, 3)]
  assert data.key(configs[0]) == data.key(configs[2]) != data.key(configs[3])


@pytest.mark.parametrize('num_cells', [0, 1, 7, 45])
@pytest.mark.parametrize('count', [1, 4, 9])
def test_parts_are_even_and_hold_each_cell_once(num_cells, count):
  parts = [status.part(range(num_cells), index, count) for index in range(count)]
  assert [cell for part in parts for cell in part] == list(range(num_cells))
  assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_states_of_a_cell(config, tmp_path):
  claims, done = Claims(tmp_path / '.claims'), set()

  def look():
    ((_, state, rounds, reason),) = status.look([config], claims, claims.records(), done)
    return state, rounds, reason

  assert look() == ('to do', 0, '')
  claim = claims.acquire(config.name)
  write(config, 'round_num,mu\n0,1.0\n1,1.0\n')
  assert look() == ('running', 1, '')
  claim.fail('no luck')
  assert look() == ('failed', 1, 'no luck')
  claims.since += 10  # for a later sweep it is to do
  assert look() == ('to do', 1, '')
  claim = claims.acquire(config.name)
  write(config, 'round_num,mu\n0,1.0\n1,1.0\n2,1.0\n3,1.0\n')
  assert look() == ('running', 3, '')  # its owner has yet to save the last round
  claim.finish()
  assert look() == ('done', 3, '')
  assert done == {config}


@pytest.mark.parametrize('name', ['metrics.csv', 'config.json', '.lock', 'checkpoints', ''])
@pytest.mark.parametrize('kind', ['a folder', 'a loop of links', 'rubbish', 'a row of 4,000 digits'])
def test_a_damaged_cell_is_to_do_and_stops_no_look_at_others(config, tmp_path, name, kind):
  other = dataclasses.replace(config, name='other')
  write(other, 'round_num,mu\n0,1.0\n1,1.0\n2,1.0\n3,1.0\n')
  path = folder(config) / name
  if name:
    write(config, 'round_num,mu\n0,1.0\n1,1.0\n2,1.0\n3,1.0\n')
    path.unlink(missing_ok=True)
  if kind == 'a folder':
    path.mkdir()
  elif kind == 'a loop of links':
    path.symlink_to(path.name)
  else:
    path.write_text(f'round_num,mu\n{"9" * 4000},1.0\n' if 'digits' in kind else 'rubbish')
  claims = Claims(tmp_path / '.claims')
  first, second = status.look([config, other], claims, {}, set())
  is_whole = name == '.lock' or (name, kind) == ('checkpoints', 'a folder')
  assert first.state == ('done' if is_whole else 'to do')
  assert first.rounds <= config.rounds
  assert second.state == 'done'


def test_a_cell_without_a_claim_whose_run_is_locked_is_at_work(config, tmp_path):
  """By a run by hand, or by an owner that was taken for dead."""
  claims = Claims(tmp_path / '.claims')
  write(config, 'round_num,mu\n0,1.0\n1,1.0\n')
  with locks.held(folder(config) / '.lock'):
    assert [s.state for s in status.look([config], claims, {}, set())] == ['running']
  assert [s.state for s in status.look([config], claims, {}, set())] == ['to do']
