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


def finish_searches(plan, claims, loss_of):
  """Runs what searches ask for until they have ended."""
  while True:
    asked = [s.config for s in plan.look(claims, claims.records()) if s.state == 'to do' and s.config.seed >= 100]
    for config in asked:
      finish(config, loss_of(config))
    if not asked:
      return


def loss_of(config):
  """The smallest are at the rates 0.3 and 1.0."""
  rates = config.flat()
  return 1.0 + abs(rates['learning_rate'] - 0.3) + abs(rates['server_learning_rate'] - 1.0)


def test_cells_wait_for_their_own_trial_alone(grid, claims):
  plan, trial = Plan([grid]), grid.trials[1]
  rates = {0.03: 0.9, 0.0095: 2.0, 0.095: 1.0}
  runs = {rate: [trial.run_of({'learning_rate': rate}, seed) for seed in (100, 101)] for rate in rates}
  assert states(plan, claims) == ['to do'] * (2 * 3 + 2 * 5) + ['waiting'] * 8
  for rate in (0.03, 0.0095):
    finish(runs[rate][0], rates[rate])
  assert states(plan, claims).count('waiting') == 8
  known = set(plan.configs)
  finish(runs[0.095][0], rates[0.095])
  found = states(plan, claims)  # the race: the best and what is near it
  assert {state: found.count(state) for state in found} == {'to do': 13 + 2, 'done': 3, 'waiting': 8}
  assert set(plan.configs) - known == {runs[0.03][1], runs[0.095][1]}
  finish(runs[0.03][1], 1.0)
  finish(runs[0.095][1], 0.8)
  found = states(plan, claims)  # 0.095 has the better mean, 0.9: its neighbour is tried
  assert {state: found.count(state) for state in found} == {'to do': 13 + 1, 'done': 5, 'waiting': 8}
  assert plan.choices == []
  assert set(plan.configs) - known > {trial.run_of({'learning_rate': 0.3}, 100)}
  finish(trial.run_of({'learning_rate': 0.3}, 100), 'nan')
  found = states(plan, claims)
  assert {state: found.count(state) for state in found} == {'to do': 13 + 2, 'done': 6, 'waiting': 6}
  assert [(choice.values, choice.runs) for choice in plan.choices] == [({'learning_rate': 0.095}, 6)]
  names = {config.name for config in plan.configs}
  assert {config.name for config in trial.cells({'learning_rate': 0.095})} < names
  assert not {config.name for config in trial.cells({'learning_rate': 0.03})} & names


def test_a_new_sweep_makes_the_same_choices_from_the_same_runs(grid, claims):
  plans = [Plan([grid]), Plan([grid]), Plan([grid])]
  finish_searches(plans[0], claims, loss_of)
  assert states(plans[1], claims) == states(plans[0], claims)  # at the first look
  assert len(plans[0].choices) == 4
  assert plans[0].choices == plans[1].choices
  assert plans[0].choices[0].values == {'learning_rate': 0.3}
  assert plans[0].configs == plans[1].configs
  [path] = plans[0].write_choices()
  text = path.read_text()
  assert path.name == 'my-choices.csv'
  assert plans[2].write_choices() == [path]  # without a look
  assert path.read_text() == text


def test_an_error_to_read_a_run_is_tried_again(grid, claims, monkeypatch):
  plan, patient = Plan([grid]), Plan([grid])
  for config in plan.configs:
    finish(config, loss_of(config))
  with monkeypatch.context() as patch:
    patch.setattr('fedprox_tff.sweeps.search.measure', lambda *_: (_ for _ in ()).throw(OSError('the disk is busy')))
    with pytest.raises(OSError, match='busy'):
      states(plan, claims)
  assert states(plan, claims) == states(patient, claims)
  assert len(plan.configs) > 16


def test_where_a_run_of_the_search_failed_its_cells_fail_too(grid, claims):
  failing = grid.trials[0].run_of({'learning_rate': 0.0095}, 100)
  claims.acquire(failing.name).fail('no luck')
  statuses = Plan([grid]).look(claims, claims.records())
  failed = [status for status in statuses if status.state == 'failed']
  assert [status.reason for status in failed] == ['no luck', *[f'the search needs {failing.name}'] * 2]
  assert failed[1].config.name == 'FedAvg, stragglers=0.0, seed=0: for its learning_rate'
  names = [status.config.name for status in statuses if status.state == 'waiting']
  assert names[-1] == 'FedAdam, stragglers=0.9, seed=1: for its server_learning_rate and tau'


@pytest.mark.parametrize('count', [1, 2, 3, 4, 7])
def test_a_trial_and_its_cells_are_in_one_part(grid, claims, count):
  whole = Plan([grid])
  finish_searches(whole, claims, loss_of)
  parts = [Plan([grid], (index, count)) for index in range(count)]
  total = [states(plan, claims) for plan in parts if plan.configs]
  assert sum(len(each) for each in total) == len(whole.configs)
  names = [config.name for plan in parts for config in plan.configs]
  assert len(names) == len(set(names)) == len(whole.configs)


def test_equal_runs_of_two_trials_are_run_once(tmp_path, claims):
  """One has the ladder of the other, a rung further up, so that each meets runs of the other."""
  text = GRID.replace("algorithm = 'fedadam'", "algorithm = 'fedavg'")
  text = text[: text.index('search = {')] + 'search = { learning_rate = ' + (
    '{ start = 0.3, factor = 3.1623, low = 1e-3, high = 1.0 } }')  # fmt: skip
  (tmp_path / 'my.toml').write_text(text)
  grid = grids.read(tmp_path / 'my.toml', {'results_dir': str(tmp_path / 'results')})
  plan = Plan([grid])
  assert states(plan, claims).count('to do') == 2 * (3 + 3 - 1)  # 0.0095, 0.03, 0.095 and 0.095, 0.3, 0.95
  finish_searches(plan, claims, loss_of)
  assert [choice.values for choice in plan.choices] == [{'learning_rate': 0.3}] * 4
  searched = {config.learning_rate for config in plan.configs if config.seed == 100}
  assert searched == {0.0095, 0.03, 0.095, 0.3, 0.95}
  assert len(plan.configs) == 2 * (5 + 4 + 2)  # with seed 101 all but 0.95; and the cells


def test_cells_of_other_grids_are_run_beside_it(grid, claims, tmp_path):
  (tmp_path / 'plain.toml').write_text("[base]\ndataset = 'digits'\nrounds = 30\n[grid]\nmu = [0.0, 2.0]")
  plain = grids.read(tmp_path / 'plain.toml', {'results_dir': str(tmp_path / 'results')})
  plan = Plan([plain, grid])
  assert states(plan, claims).count('to do') == 2 + 16
