# SPDX-License-Identifier: Apache-2.0
"""The cells of a sweep with a search: which wait, which are known, and that a new sweep takes up what is there."""

import json

import pytest

from fedprox_tff.sweeps import grids
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.sweeps.plan import Plan
from fedprox_tff.training import run_folder
from tests.sweeps.test_search import GRID, write_run


@pytest.fixture
def grid(tmp_path):
  (tmp_path / 'my.toml').write_text(GRID)
  return grids.read(tmp_path / 'my.toml', {'results_dir': str(tmp_path / 'results')})


@pytest.fixture
def claims(tmp_path):
  return Claims(tmp_path / 'claims')


def finish(config, loss=1.0):
  write_run(run_folder.folder(config), [loss] * (config.rounds + 1))
  (run_folder.folder(config) / 'config.json').write_text(
    json.dumps({'config': config.record(), 'data': {'source': 'digits', 'fingerprint': ''}})
  )


def states(plan, claims):
  statuses = plan.look(claims, claims.records())
  return [status.state for status in statuses]


def test_cells_wait_for_their_own_trial_alone(grid, claims):
  plan = Plan([grid])
  assert states(plan, claims) == ['to do'] * 12 + ['waiting'] * 8
  finish(grid.trials[1].candidates[0])
  finish(grid.trials[1].candidates[1], loss=0.5)
  assert states(plan, claims).count('waiting') == 8
  assert plan.choices == []
  finish(grid.trials[1].candidates[2], loss='nan')
  found = states(plan, claims)
  assert {state: found.count(state) for state in found} == {'to do': 9 + 2, 'done': 3, 'waiting': 6}
  assert [choice.value for choice in plan.choices] == [0.03]
  known = {config.name for config in plan.configs}
  assert {config.name for config in grid.trials[1].cells(0.03)} < known
  assert not {config.name for config in grid.trials[1].cells(0.01)} & known


def test_a_new_sweep_makes_the_same_choices_from_the_same_runs(grid, claims):
  for trial in grid.trials:
    for config, loss in zip(trial.candidates, (1.0, 0.5, 0.7), strict=True):
      finish(config, loss)
  plans = [Plan([grid]), Plan([grid])]
  assert states(plans[0], claims) == states(plans[1], claims)
  assert [str(choice) for choice in plans[0].choices] == [str(choice) for choice in plans[1].choices]
  assert plans[0].configs == plans[1].configs
  [path] = plans[0].write_choices()
  text = path.read_text()
  assert path.name == 'my-choices.csv'
  assert plans[1].write_choices() == [path]
  assert path.read_text() == text


def test_where_a_run_of_the_search_failed_its_cells_fail_too(grid, claims):
  claims.acquire(grid.trials[0].candidates[1].name).fail('no luck')
  statuses = Plan([grid]).look(claims, claims.records())
  failed = [status for status in statuses if status.state == 'failed']
  assert [status.reason for status in failed] == [
    'no luck',
    *[f'the search needs {grid.trials[0].candidates[1].name}'] * 2,
  ]
  assert failed[1].config.name == 'FedAvg, stragglers=0.0, seed=0: for its learning_rate'


@pytest.mark.parametrize('count', [1, 2, 3, 4, 7])
def test_a_trial_and_its_cells_are_in_one_part(grid, claims, count):
  for trial in grid.trials:
    for config in trial.candidates:
      finish(config)
  parts = [Plan([grid], (index, count)) for index in range(count)]
  total = [states(plan, claims) for plan in parts if plan.configs]
  assert sum(len(each) for each in total) == grid.num_cells
  names = [config.name for plan in parts for config in plan.configs]
  assert len(names) == len(set(names)) == grid.num_cells


def test_cells_of_other_grids_are_run_beside_it(grid, claims, tmp_path):
  (tmp_path / 'plain.toml').write_text("[base]\ndataset = 'digits'\nrounds = 30\n[grid]\nmu = [0.0, 2.0]")
  plain = grids.read(tmp_path / 'plain.toml', {'results_dir': str(tmp_path / 'results')})
  plan = Plan([plain, grid])
  assert states(plan, claims).count('to do') == 2 + 12
