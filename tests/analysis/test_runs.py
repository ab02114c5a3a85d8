# SPDX-License-Identifier: Apache-2.0
"""The table of runs: what is in it, and each way in which a folder is not a run."""

import json
import math
import pathlib

import pytest
from made_runs import FEDAVG, HEADER, csv_text

from analysis.read import runs
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError


def test_a_row_for_each_run_and_round(make_run):
  first, second = make_run('a', mu=0.5), make_run('b', **FEDAVG, metrics=csv_text(['3.0', '2.0'], mu=0.0))
  frame = runs.load_runs([second, first])
  assert list(zip(frame['run'], frame['round_num'], strict=True)) == [
    *((str(second), round_num) for round_num in range(2)),
    *((str(first), round_num) for round_num in range(5)),
  ]
  assert frame['train/loss'].dropna().tolist() == [3.0, 2.0, 2.5, 1.25, 2.2738632088209076]  # to the last bit
  assert frame['test/accuracy'].dropna().tolist() == [0.1, 0.2, 0.1, 0.3, 0.5]
  assert frame['config/algorithm'].tolist() == ['fedavg'] * 2 + ['fedprox'] * 5
  assert frame['mu'].tolist() == [0.0] * 2 + [1.0] * 5  # metrics.csv's, beside the config's
  assert frame['config/mu'].isna().tolist() == [True] * 2 + [False] * 5
  assert frame['config/mu'][2:].tolist() == [0.5] * 5


def test_evaluated_rounds(make_run):
  frame = runs.load_runs([make_run('a')])
  assert runs.evaluated(frame)['round_num'].tolist() == [0, 2, 4]


def test_a_diverged_loss_is_evaluated(make_run):
  row = '\n1,9.0,1.0,0.1,nan,0.1,nan\n'
  frame = runs.load_runs([make_run('a', metrics=csv_text(['2.0']).strip() + row)])
  assert runs.evaluated(frame)['round_num'].tolist() == [0, 1]
  assert math.isnan(runs.evaluated(frame)['train/loss'].iloc[1])


def test_configs_are_those_that_were_written(make_run):
  made = [make_run('a', mu=0.5, seed=3), make_run('b', **FEDAVG, new_setting='x')]
  configs = runs.configs(runs.load_runs(made))
  assert list(configs) == [str(run) for run in made]
  for run, config in configs.items():
    written = json.loads((pathlib.Path(run) / 'config.json').read_text())['config']
    assert {key: config.get(key) for key in written} == written
  assert configs[str(made[0])]['new_setting'] is None


def test_a_nested_config_reads_as_a_flat_one(make_run):
  config = Config.from_flags({'algorithm': 'fedexp', 'backbone': 'scaffold', 'client_optimizer': 'sgd'})
  record = config.record()
  assert record['algorithm']['backbone']['name'] == 'scaffold'
  flat, nested = make_run('flat'), make_run('nested')
  for path, content in ((flat, config.flat()), (nested, record)):
    (path / 'config.json').write_text(json.dumps({'config': content}))
  read = runs.read_config(nested)
  assert read == runs.read_config(flat)
  assert (read['algorithm'], read['backbone'], read['client_optimizer']) == ('fedexp', 'scaffold', 'sgd')
  record['algorithm']['backbone']['name'] = 'of_another_version'
  (nested / 'config.json').write_text(json.dumps({'config': record}))
  assert runs.read_config(nested)['backbone'] == 'of_another_version'


def test_a_folder_twice_is_one_run(make_run):
  run = make_run('a')
  assert len(runs.load_runs([run, run / '..' / 'a'])) == 5


def test_a_row_that_is_being_written_is_left_out(make_run):
  run = make_run('a', metrics=csv_text(['2.0', '1.0']) + '2,100.0,1.0,0.')
  assert runs.load_runs([run])['round_num'].tolist() == [0, 1]


@pytest.mark.parametrize(
  ('metrics', 'found'),
  [
    ('', 'metrics.csv has no row yet'),
    (HEADER + '\n', 'metrics.csv has no row yet'),
    (csv_text().replace('train/loss', 'loss'), 'no column train/loss'),
    (csv_text().replace('1.25', 'low'), 'metrics.csv cannot be read as that of a run (ValueError: could not convert'),
    (csv_text() + '5,1,1,1,1,1,1,1,1,1\n', 'metrics.csv cannot be read as that of a run (ParserError'),
    (csv_text() + '3,1,1,1,1,1,1\n', 'round_num must be whole numbers in rising order'),
    (csv_text() + 'nan,1,1,1,1,1,1\n', 'round_num must be whole numbers in rising order'),
    (csv_text() + '4.5,1,1,1,1,1,1\n', 'round_num must be whole numbers in rising order'),
    (csv_text(['nan', 'nan']), 'metrics.csv has no evaluated round'),
  ],
)
def test_metrics_that_cannot_be_used(make_run, metrics, found):
  run = make_run('a', metrics=metrics)
  assert_refused(run, found)


@pytest.mark.parametrize(
  ('config', 'found'),
  [
    ('{"config": {', 'config.json cannot be read as that of a run (JSONDecodeError'),
    ('{}', "config.json cannot be read as that of a run (KeyError: 'config')"),
    ('[1]', 'config.json cannot be read as that of a run (TypeError'),
    ('{"config": [1]}', 'config.json cannot be read as that of a run (AttributeError'),
    ('{"config": {"dataset": "mnist", "rounds": "4"}}', 'it lacks algorithm, rounds'),
  ],
)
def test_configs_that_cannot_be_used(make_run, config, found):
  run = make_run('a')
  (run / 'config.json').write_text(config)
  assert_refused(run, found)


def test_folders_that_are_no_runs(make_run, tmp_path):
  run = make_run('a')
  make_run('b')
  assert_refused(tmp_path / 'nothing', 'does not exist; the folder of a run is needed')
  assert_refused(tmp_path / 'results', 'holds 2 runs and is none itself; the folder of a run is needed')
  assert_refused(tmp_path, 'has no config.json; the folder of a run is needed')
  assert_refused(run / 'metrics.csv', 'is a file; the folder of a run is needed')
  (run / 'metrics.csv').unlink()
  assert_refused(run, 'metrics.csv has no row yet')


def assert_refused(path, found):
  with pytest.raises(UserError) as error:
    runs.load_runs([path])
  message = str(error.value)
  assert message.startswith(str(path))
  assert found in message
  assert '\n' not in message
