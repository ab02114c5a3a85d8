# SPDX-License-Identifier: Apache-2.0
"""What is done of a cell is read from its results, whatever state a kill left them in."""

import dataclasses
import json

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.sweeps import status
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.training import data


@pytest.fixture
def config(tmp_path):
  return Config.from_flags({'dataset': 'digits', 'rounds': 3, 'results_dir': str(tmp_path)})


def write(config, metrics, **values):
  folder = status.folder(config)
  folder.mkdir(exist_ok=True)
  (folder / 'metrics.csv').write_text(metrics)
  (folder / 'config.json').write_text(json.dumps({'config': {**config.record(), **values}}))


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
def test_rounds_done_are_those_of_the_last_whole_row(config, metrics, rounds):
  assert status.rounds_done(config) == 0
  write(config, metrics)
  assert status.rounds_done(config) == rounds


def test_a_cell_is_done_when_all_rounds_of_this_config_are_there(config):
  whole = 'round_num,mu\n0,1.0\n1,1.0\n2,1.0\n3,1.0\n'
  assert not status.is_done(config)
  write(config, whole)
  assert status.is_done(config)
  assert not status.is_done(dataclasses.replace(config, rounds=4))
  assert status.is_done(dataclasses.replace(config, rounds=2))  # a longer run holds the shorter one
  write(config, whole, mu=2.0)
  assert not status.is_done(config)
  (status.folder(config) / 'config.json').write_text('{"config"')
  assert not status.is_done(config)


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
