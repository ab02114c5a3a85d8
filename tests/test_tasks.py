# SPDX-License-Identifier: Apache-2.0
"""Every task from the command line, on small files in the layouts of the real ones, with networks of a few units."""

import csv
import hashlib
import importlib
import json
import math

import numpy as np
import pytest

from fedprox_tff import run
from fedprox_tff.datasets import cifar_files
from tests.datasets import cifar_made, femnist_made, test_molecules, tff_database

METHODS = ('fedavg', 'fedprox', 'scaffold', 'ditto')
COMMON = ('--rounds=2', '--stragglers=0.5', '--straggler_policy=partial')
TASKS = {
  'shakespeare': ('--hidden_units=4', '--num_clients=4', '--epochs=2', '--clients_per_round=3'),
  'cifar100': (
    '--model=convnet2', '--hidden_units=8', '--augmentation=crop_flip', '--federation=A0d1C6', '--local_steps=3',
    '--clients_per_round=4', '--clip_norm=1',
  ),
  'femnist': ('--femnist_split=writers', '--epochs=2', '--clients_per_round=3'),
  'sent140': ('--hidden_units=4', '--num_clients=4', '--min_tweets=3', '--epochs=2', '--clients_per_round=3'),
  'molecules': ('--hidden_units=4', '--batch_size=2', '--epochs=2', '--l2=0.001'),
  'stackoverflow': ('--hidden_units=4', '--num_clients=3', '--epochs=2', '--clients_per_round=2'),
}  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Returns a folder with small files for all tasks."""
  root = tmp_path_factory.mktemp('data')
  rng = np.random.default_rng(0)
  words = ['to', 'be', 'or', 'not', 'that', 'is', 'the', 'question']

  def text(length):
    return ' '.join(rng.choice(words, length))

  (root / 'shakespeare').mkdir()
  roles = [{'user': f'ROLE{k}', 'lines': '\n'.join(text(60) for _ in range(3))} for k in range(5)]
  (root / 'shakespeare' / 'roles_made.jsonl').write_text(''.join(f'{json.dumps(role)}\n' for role in roles))
  (root / 'sent140').mkdir()
  tweets = [[k, k % 2, text(6)] for k in range(5) for _ in range(6)]
  (root / 'sent140' / 'sent140_made.jsonl').write_text(''.join(f'{json.dumps(tweet)}\n' for tweet in tweets))
  (root / 'cifar100').mkdir()
  release = cifar_files.CIFAR100
  cifar_made.write(release, root / 'cifar100' / 'cifar-100-python', train_size=400, test_size=200)
  (root / 'femnist').mkdir()
  femnist_made.write_sqlite(root / 'femnist' / 'emnist_all.sqlite', *femnist_made.writers(5, (9, 3)))
  (root / 'molecules').mkdir()
  test_molecules.write_sets(root / 'molecules')
  (root / 'stackoverflow').mkdir()
  users = {f'user{k}': [{'tokens': text(7)} for _ in range(6)] for k in range(3)}
  rest = {'creation_date': '2010-01-08', 'tags': 'sql', 'title': 'a title', 'type': 'answer', 'score': 3}
  examples = {user: [{**rest, **each} for each in texts] for user, texts in users.items()}
  splits = {'train': examples, 'test': examples, 'heldout': examples}
  tff_database.write(root / 'stackoverflow' / 'stackoverflow.sqlite', splits)
  return root


@pytest.fixture(autouse=True)
def found(folder, monkeypatch, tmp_path):
  monkeypatch.setenv('FEDPROX_DATA_DIR', str(folder))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  module = importlib.import_module('fedprox_tff.datasets.molecules')
  contents = {name: ''.join(files.values()).encode() for name, files in test_molecules.SETS.items()}
  monkeypatch.setattr(module, 'SHA256', {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()})


def rows_of(results):
  with (results / 'metrics.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  return [{k: v for k, v in row.items() if not k.startswith(('seconds/', 'memory/'))} for row in rows]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('task', TASKS)
def test_a_task_trains_with_a_method_under_stragglers(task, method, tmp_path):
  flags = (f'--dataset={task}', f'--algorithm={method}', *TASKS[task], *COMMON, f'--results_dir={tmp_path}', '--name=a')
  assert run.main(['run', *flags]) == 0
  rows = rows_of(tmp_path / 'a')
  assert len(rows) == 3
  assert all(math.isfinite(float(row['train/loss'])) for row in rows)
  assert float(rows[2]['train/update_norm']) > 0
  assert int(rows[2]['cohort/stragglers']) > 0
  assert int(rows[2]['cohort/non_finite']) == int(rows[2]['cohort/skipped']) == 0
  assert math.isfinite(float(rows[2]['personal/accuracy'])) == (method == 'ditto')


@pytest.mark.parametrize('task', ['shakespeare', 'cifar100', 'molecules'])
def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_ended(task, tmp_path):
  """What local steps draw, crops and dropped units, depends on the round and not on when the program began."""
  flags = (f'--dataset={task}', '--algorithm=ditto', *TASKS[task], *COMMON[1:], f'--results_dir={tmp_path}')
  assert run.main(['run', *flags, '--name=whole', '--rounds=2']) == 0
  for rounds in (1, 2):
    assert run.main(['run', *flags, '--name=parts', f'--rounds={rounds}']) == 0
  whole, parts = rows_of(tmp_path / 'whole'), rows_of(tmp_path / 'parts')
  assert whole == parts
