# SPDX-License-Identifier: Apache-2.0
"""A run of version 0.1 goes on: two rounds of FedExP with SCAFFOLD's clients on the digits, made by that version.

`metrics_of_4_rounds.csv` is what that version wrote when it ran four rounds without a stop.
"""

import csv
import json
import pathlib
import shutil

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.session import Session

OLD = pathlib.Path(__file__).parent / 'run_of_0_1'
FLAGS = {
  **{'dataset': 'digits', 'num_clients': 20, 'epochs': 2, 'stragglers': 0.5, 'seed': 1},
  **{'algorithm': 'fedexp', 'backbone': 'scaffold', 'name': 'rounds_2'},
}


def rows(path):
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


@pytest.mark.parametrize('client_states', ['memory', 'disk'])
def test_it_goes_on_where_it_stopped_and_ends_as_it_would_have(tmp_path, client_states):
  folder = tmp_path / 'rounds_2'
  shutil.copytree(OLD, folder)
  config = Config.from_flags({**FLAGS, 'client_states': client_states, 'rounds': 4, 'results_dir': str(tmp_path)})
  said = (tmp_path / 'said').open('w+')
  with said, Session() as session, session.open(config) as run, Progress(config.rounds, said) as progress:
    run.train(progress)
    said.seek(0)
    assert 'going on after round 2' in said.read()
  expected = rows(OLD / 'metrics_of_4_rounds.csv')
  now = rows(folder / 'metrics.csv')
  later = {'cohort/gradients': 'nan', 'cohort/floats': 'nan'}  # columns that it did not have yet
  assert now[:3] == [row | later for row in rows(OLD / 'metrics.csv')]  # its own rows are not touched
  for row, old in zip(now, expected, strict=True):
    for key in old:
      if not key.startswith(('seconds/', 'memory/')):
        assert float(row[key]) == pytest.approx(float(old[key]), rel=1e-5, nan_ok=True), key
  assert json.loads((folder / 'config.json').read_text())['config']['rounds'] == 4


def test_it_is_another_run_for_another_method(tmp_path):
  old = json.loads((OLD / 'config.json').read_text())['config']
  assert Config.from_flags(FLAGS).differences(old) == []
  assert 'backbone' in Config.from_flags({**FLAGS, 'backbone': 'fedprox'}).differences(old)


def all_of(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.name != '.lock')


@pytest.mark.parametrize('file', ['variables/variables.data-00000-of-00001', 'variables/variables.index'])
@pytest.mark.parametrize('content', [b'', b'garbage' * 99, None])
def test_its_damage_is_named_and_nothing_is_touched(tmp_path, file, content):
  folder = tmp_path / 'rounds_2'
  shutil.copytree(OLD, folder)
  path = folder / 'checkpoints' / 'round_2' / file
  path.unlink() if content is None else path.write_bytes(content)
  before = all_of(folder)
  config = Config.from_flags({**FLAGS, 'rounds': 4, 'results_dir': str(tmp_path)})
  refused = pytest.raises(UserError, match='no checkpoint of an earlier version can be used')
  with (tmp_path / 'said').open('w') as said, Session() as session, session.open(config) as run, refused:
    run.train(Progress(config.rounds, said))
  assert all_of(folder) == before


def test_what_it_had_saved_is_a_program_and_is_not_run(tmp_path):
  """The numbers are read from the variables beside the program, which may be anything."""
  folder = tmp_path / 'rounds_2'
  shutil.copytree(OLD, folder)
  (folder / 'checkpoints' / 'round_2' / 'saved_model.pb').write_bytes(b'no program at all')
  config = Config.from_flags({**FLAGS, 'rounds': 3, 'results_dir': str(tmp_path)})
  with (tmp_path / 'said').open('w') as said, Session() as session, session.open(config) as run:
    run.train(Progress(config.rounds, said))
  assert sorted(path.name for path in (folder / 'earlier').iterdir()) == ['client_states', 'round_2']
  assert sorted(path.name for path in (folder / 'checkpoints').iterdir()) == ['round_2.ckpt', 'round_3.ckpt']
