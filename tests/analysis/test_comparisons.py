# SPDX-License-Identifier: Apache-2.0
"""Comparisons of methods: the runs of what the search chose, ranked by numbers that are worked out by hand."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from analysis import arguments, plot, table
from analysis.numbers import ranking
from analysis.read import comparisons
from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grids

GRID = """
title = 'three methods'
[base]
dataset = 'digits'
rounds = 6
[grid]
stragglers = [0.0, 0.9]
seed = [0, 1]
[search]
seeds = [100, 101]
rounds = 2
most = 3
within = 1.25
learning_rate = { start = 0.03, factor = 3.1623, low = 1e-3, high = 1.0 }
[target]
accuracy = 0.5
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
[[curve]]
name = 'FedProx'
algorithm = 'fedprox'
[[curve]]
name = 'FedAvg, CNN'
algorithm = 'fedavg'
model = 'cnn'
[[curve]]
name = 'FedExP, CNN'
algorithm = 'fedexp'
model = 'cnn'
partner = 'FedAvg, CNN'
"""
# Test accuracies of rounds 0 to 6 by curve and seed. The means of five rounds in a row reach 0.5 for good in these
# rounds: FedAvg's in 2 and 1, FedProx's in 1 and never.
ACCURACIES = {
  'FedAvg': ([0.1, 0.2, 0.5, 0.5, 0.5, 0.5, 0.6], [0.1, 0.5, 0.5, 0.7, 0.6, 0.5, 0.5]),
  'FedProx': ([0.1, 0.5, 0.4, 0.8, 0.6, 0.6, 0.6], [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4]),
  'FedAvg, CNN': ([0.1] * 7, [0.1, *[0.2] * 6]),
  'FedExP, CNN': ([0.1, 0.1, 0.2, *[0.3] * 4], [0.1, 0.3, *[0.4] * 5]),
}


@pytest.fixture
def grid(tmp_path):
  path = tmp_path / 'three.toml'
  path.write_text(GRID)
  return path


def write(folder, config, accuracies, losses=None):
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps({'config': config.flat()}))
  columns = {'test/accuracy': accuracies, 'test/loss': losses or accuracies}
  columns |= {'train/accuracy': accuracies, 'train/loss': losses or accuracies}
  columns['cohort/steps'] = [0, *[100] * (len(accuracies) - 1)]
  pd.DataFrame(columns).rename_axis('round_num').to_csv(folder / 'metrics.csv', na_rep='nan')


@pytest.fixture
def results(grid, tmp_path):
  """Runs in folders whose names say nothing: 0.03 wins each search, and other values have runs that must not count."""
  number = 0
  for trial in grids.read(grid).trials:
    for rate, loss, seed in ((0.03, 1.0, 100), (0.0095, 2.0, 100), (0.095, float('nan'), 100), (0.03, 1.3, 101)):
      config = trial.run_of({'learning_rate': rate}, seed)
      write(tmp_path / 'results' / 'search' / f'{number}', config, [0.1, 0.1, 0.1], [3.0, loss, loss])
      number += 1
    for config, accuracies in zip(trial.cells({'learning_rate': 0.03}), ACCURACIES[trial.curve], strict=True):
      write(tmp_path / 'results' / f'{number}', config, accuracies, [3.0, 2.0, 1.5, 1.0, 1.0, 1.0, 1.0])
      number += 1
    write(tmp_path / 'results' / f'{number}', trial.cells({'learning_rate': 0.0095})[0], [1.0] * 7)
    number += 1
  return tmp_path / 'results'


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)


def folder_of(config, results):
  """Returns the folder of a run of the fixture."""
  paths = [
    path for path in results.rglob('config.json') if json.loads(path.read_text())['config']['name'] == config.name
  ]
  [path] = paths
  return path.parent


def run(capsys, main, *argv):
  return main([str(argument) for argument in argv]), *capsys.readouterr()


def test_cells_have_the_runs_of_the_chosen_value(grid, results):
  comparison, notes = comparisons.fill(grid, results)
  assert notes == []
  assert [choice.values for choice in comparison.choices] == [{'learning_rate': 0.03}] * 8
  criteria = [tried.criterion for tried in comparison.choices[0].tried]
  assert criteria == pytest.approx([(1.0 + 1.3) / 2, 2.0, np.inf])
  assert {(len(choice.ends), choice.runs, choice.local_steps) for choice in comparison.choices} == {(0, 4, 800)}
  assert [cell.panel for cell in comparison.cells[:2]] == ['No stragglers', '90 % stragglers']
  assert comparison.panels() == [[0, 2, 4, 6], [1, 3, 5, 7]]
  assert all(list(cell.runs) == [0, 1] for cell in comparison.cells)
  assert {cell.config.learning_rate for cell in comparison.cells} == {0.03}


def test_text(grid, results, capsys):
  code, out, err = run(capsys, table.main, grid, f'--results_dir={results}')
  assert (code, err) == (0, '')
  lines = [' '.join(line.split()) for line in out.splitlines()]
  assert lines[0] == 'three, No stragglers: methods ranked by test accuracy'
  heading = 'rank method chosen search seeds accuracy difference to FedAvg rounds to 50 % gradients to 50 % '
  assert f'{heading}numbers sent to 50 % training loss' in lines
  fedavg = '1 FedAvg learning rate 0.03 4 runs, 800 steps 2 45.0 ± 5.1 - 1.5 ± 0.7 (2/2) - - 1.5 ± 0'
  fedprox = '2 FedProx learning rate 0.03 4 runs, 800 steps 2 41.4 ± 14.1 -3.6 [-176.0, +168.9] 1.0 (1/2) - - 1.5 ± 0'
  assert [line for line in lines if line in (fedavg, fedprox)] == [fedavg, fedprox] * 2
  assert any('28.6 ± 8.1 +14.3 [' in line and line.endswith('] to FedAvg, CNN - (0/2) - - 1.5 ± 0') for line in lines)
  assert 'three, 90 % stragglers: methods ranked by test accuracy' in lines
  assert sum(line.startswith('accuracy: ') for line in lines) == 1  # one legend for all tables


@pytest.mark.parametrize(
  ('form', 'said'),
  [
    ('markdown', '| 1 | FedAvg | learning rate 0.03 | 4 runs, 800 steps | 2 | 45.0 ± 5.1 |'),
    ('latex', r'1 & FedAvg & learning rate 0.03'),
  ],
)
def test_formats(grid, results, capsys, form, said):
  code, out, _ = run(capsys, table.main, grid, f'--results_dir={results}', f'--format={form}')
  assert code == 0
  assert said in out.replace('$', '')


def test_csv_and_curves_have_all_numbers(grid, results, capsys):
  comparison, _ = comparisons.fill(grid, results)
  _, out, _ = run(capsys, table.main, grid, f'--results_dir={results}', '--format=csv')
  assert len(list(csv.DictReader(io.StringIO(out)))) == 8
  read = pd.read_csv(io.StringIO(out)).drop(columns='comparison')
  pd.testing.assert_frame_equal(read, ranking.ranking(comparison), check_dtype=False)
  _, out, _ = run(capsys, table.main, grid, f'--results_dir={results}', '--format=curves')
  curves = pd.read_csv(io.StringIO(out), header=[0, 1, 2, 3, 4], index_col=0).sort_index(axis=1)
  fedavg = curves['No stragglers', 'FedAvg', '2 seeds', 'test/accuracy']['mean']
  assert fedavg.tolist() == [0.1, 0.35, 0.5, 0.6, 0.55, 0.5, 0.55]
  assert 'train/loss' in curves.columns.get_level_values(3)


def test_a_comparison_by_clients_own_models(grid, results, capsys):
  """FedAvg's clients have no models of their own: the global one stands in for them."""
  grid.write_text(GRID.replace('accuracy = 0.5', "accuracy = 0.5\nranked_by = 'personal/accuracy'"))
  for trial in grids.read(grid).trials:
    for config in trial.cells({'learning_rate': 0.03}):
      path = folder_of(config, results) / 'metrics.csv'
      own = [0.9] * 7 if trial.curve == 'FedProx' else [np.nan] * 7
      pd.read_csv(path).assign(**{'personal/accuracy': own}).to_csv(path, index=False, na_rep='nan')
  code, out, err = run(capsys, table.main, grid, f'--results_dir={results}')
  assert (code, err) == (0, '')
  lines = [' '.join(line.split()) for line in out.splitlines()]
  assert lines[0] == "three, No stragglers: methods ranked by the test accuracy of clients' own models"
  ranked = [line for line in lines if line.startswith(('1 ', '2 '))]
  assert ranked[0].startswith('1 FedProx learning rate 0.03 4 runs, 800 steps 2 90.0 ± 0.0 +45.0 [')
  assert ranked[0].endswith('41.4 ± 14.1')
  assert ranked[1].startswith('2 FedAvg learning rate 0.03 4 runs, 800 steps 2 45.0 ± 5.1 - 1.5 ± 0.7 (2/2)')
  _, out, _ = run(capsys, table.main, grid, f'--results_dir={results}', '--format=curves')
  curves = pd.read_csv(io.StringIO(out), header=[0, 1, 2, 3, 4], index_col=0)
  assert set(curves.columns.get_level_values(3)) == {'personal/accuracy', 'train/loss'}


def test_what_is_missing_is_named_and_ranked_last(grid, results, capsys):
  trials = grids.read(grid).trials
  for config in (trials[2].start, trials[0].cells({'learning_rate': 0.03})[1]):
    (folder_of(config, results) / 'config.json').unlink()
  code, out, err = run(capsys, table.main, grid, f'--results_dir={results}')
  assert code == 0
  assert err.splitlines() == [
    'three: missing: No stragglers, FedProx: its search has not ended',
    'three: missing: No stragglers, FedAvg: seed 1: 1 of 2 seeds are there',
    'three: missing: No stragglers, FedProx: no finished run',
  ]
  assert '4 FedProx - - 0 - - - - - -' in [' '.join(line.split()) for line in out.splitlines()]


def test_a_diverged_run_is_said(grid, results, capsys):
  path = folder_of(grids.read(grid).trials[0].cells({'learning_rate': 0.03})[0], results)
  rows = pd.read_csv(path / 'metrics.csv')
  rows.assign(**{'train/loss': [3.0, *[np.nan] * 6]}).to_csv(path / 'metrics.csv', index=False, na_rep='nan')
  _, out, _ = run(capsys, table.main, grid, f'--results_dir={results}')
  assert any('FedAvg' in line and line.rstrip().endswith('diverged') for line in out.splitlines())


def test_a_panel_without_runs_is_named(grid, results, capsys):
  for trial in grids.read(grid).trials[1::2]:
    for config in trial.cells({'learning_rate': 0.03}):
      (folder_of(config, results) / 'config.json').unlink()
  code, out, err = run(capsys, table.main, grid, f'--results_dir={results}')
  assert (code, err) == (0, 'three: missing: 90 % stragglers: no finished run\n')
  assert '4 FedExP, CNN learning rate 0.03 4 runs, 800 steps 0 - - - - - -' in [
    ' '.join(line.split()) for line in out.splitlines()
  ]


def test_a_panel_has_the_curves_that_exist_there(grid, results, capsys):
  """FedProx is at 90 % stragglers alone, whose runs are the same as before."""
  grid.write_text(GRID.replace("algorithm = 'fedprox'", "algorithm = 'fedprox'\nonly = { stragglers = [0.9] }"))
  comparison, notes = comparisons.fill(grid, results)
  assert notes == []
  assert comparison.panels() == [[0, 3, 5], [1, 2, 4, 6]]
  code, out, err = run(capsys, table.main, grid, f'--results_dir={results}')
  assert (code, err) == (0, '')
  first, second = out.split('three, 90 % stragglers')
  assert [' FedProx ' in part for part in (first, second)] == [False, True]


def test_the_figure_is_written(grid, results, capsys, tmp_path):
  code, out, err = run(capsys, plot.main, grid, f'--results_dir={results}', f'--output={tmp_path}/figure.png')
  assert (code, err) == (0, '')
  assert out.count('wrote ') == 2
  assert (tmp_path / 'figure.png').stat().st_size > 10_000


@pytest.mark.parametrize(
  ('main', 'argv', 'said'),
  [
    (table.main, ['methods_mnist'], 'sweep.sh methods_mnist` makes runs there'),
    (table.main, ['figure4'], 'figure4 is not one of the figures; there are figure1, '),
    (table.main, ['methods', '--format=curves'], '--format=curves: one comparison at a time, such as methods_cnn'),
    (plot.main, ['methods_mnist', 'figure1'], 'figure1: give comparisons of methods alone'),
    (plot.main, ['methods_mnist', '--band=std'], '--band=std: methods_mnist does not use it'),
    (plot.main, ['no_such.toml'], 'no_such.toml'),
  ],
)
def test_bad_input_is_one_line_and_exit_code_2(in_empty_folder, capsys, main, argv, said):
  del in_empty_folder
  code, out, err = run(capsys, main, *argv)
  assert (code, out) == (2, '')
  [line] = err.splitlines()
  assert said in line


def test_a_grid_without_search_is_no_comparison(tmp_path):
  (tmp_path / 'plain.toml').write_text('[base]\nrounds = 3')
  with pytest.raises(UserError, match=r'\[search\] and \[target\] are needed'):
    comparisons.fill(tmp_path / 'plain.toml', tmp_path)


@pytest.mark.parametrize('name', arguments.COMPARISONS)
def test_the_comparisons_of_this_project(name):
  """By the protocol: equal budgets, federations of the seeds' own, and one policy but for the curve that says so."""
  grid = grids.read(grids.find(name))
  assert grid.target
  assert len({(trial.section.most, trial.section.within, *trial.section.seeds) for trial in grid.trials}) == 1
  for trial in grid.trials:
    assert not set(trial.seeds) & set(trial.section.seeds)
    tried = trial.start
    default = Config.from_flags({'dataset': tried.dataset.name, 'algorithm': tried.algorithm.name}).flat()
    for ladder in trial.section.ladders:
      is_off = ladder.flag == 'l2'
      assert ladder.rungs[0] < default[ladder.flag] < ladder.rungs[-1] or is_off, trial
    for cell in trial.cells(trial.start_values):
      assert cell.flat()['data_seed'] == cell.seed
    expected = 'drop' if 'drops' in trial.curve else 'partial'
    assert not tried.stragglers or tried.straggler_policy == expected
  assert grid.trials[0].curve == 'FedAvg'
  assert len({str(trial) for trial in grid.trials}) == len(grid.trials)


@pytest.mark.parametrize('name', ['methods_mnist', 'methods_synthetic'])
def test_the_comparisons_of_all_methods(name):
  """Methods without models of the clients' own, under both means, but for rules that know one mean."""
  grid = grids.read(grids.find(name))
  records = {key: factory() for key, factory in ALGORITHMS.items()}
  ours = {trial.start.algorithm.name for trial in grid.trials}
  assert len(ours) >= 24
  assert not any(records[key].client.has_own_model for key in ours)
  for trial in grid.trials:
    assert trial.seeds == [0, 1, 2, 3, 4]
    means = {each.point['weighting'] for each in grid.trials if each.curve == trial.curve}
    assert means == ({'uniform'} if records[trial.start.algorithm.name].needs.plain_mean else {'uniform', 'examples'})
