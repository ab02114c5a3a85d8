# SPDX-License-Identifier: Apache-2.0
"""Comparisons of methods: the runs of what the search chose, ranked by numbers that are worked out by hand."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from analysis import arguments, plot, table
from analysis.draw import dots
from analysis.numbers import ranking
from analysis.read import comparisons
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grids, search

GRID = """
title = 'three methods'
[base]
dataset = 'digits'
rounds = 3
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
"""
# Test accuracies of rounds 0 to 3 by curve and seed.
ACCURACIES = {
  'FedAvg': ([0.1, 0.2, 0.5, 0.6], [0.1, 0.5, 0.7, 0.6]),
  'FedProx': ([0.1, 0.6, 0.4, 0.8], [0.1, 0.2, 0.3, 0.4]),
  'FedAvg, CNN': ([0.1, 0.1, 0.1, 0.1], [0.1, 0.2, 0.2, 0.2]),
  'FedExP, CNN': ([0.1, 0.1, 0.2, 0.3], [0.1, 0.3, 0.4, 0.4]),
}


@pytest.fixture
def grid(tmp_path):
  path = tmp_path / 'three.toml'
  path.write_text(GRID)
  return path


def write(folder, config, accuracies, losses=None, personal=None):
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps({'config': config.flat()}))
  columns = {'test/accuracy': accuracies, 'test/loss': losses or accuracies}
  columns |= {'train/accuracy': accuracies, 'train/loss': losses or accuracies}
  if personal:
    columns['personal/accuracy'] = personal
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
      write(tmp_path / 'results' / f'{number}', config, accuracies, [3.0, 2.0, 1.5, 1.0])
      number += 1
    write(tmp_path / 'results' / f'{number}', trial.cells({'learning_rate': 0.0095})[0], [1.0] * 4)
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
  assert [cell.panel for cell in comparison.cells[:2]] == ['No stragglers', '90 % stragglers']
  assert comparison.panels() == [[0, 2, 4, 6], [1, 3, 5, 7]]
  assert all(list(cell.runs) == [0, 1] for cell in comparison.cells)
  assert {cell.config.learning_rate for cell in comparison.cells} == {0.03}


def test_ranking_differences_and_rounds_to_the_target(grid, results):
  comparison, _ = comparisons.fill(grid, results)
  made = ranking.ranking(comparison)
  rows = made[made['panel'] == '90 % stragglers'].set_index('curve')
  # Means over rounds and seeds; all four rounds are among the last ten.
  assert rows['last_ten_mean'].to_dict() == pytest.approx(
    {'FedAvg': 0.4125, 'FedProx': 0.3625, 'FedExP, CNN': 0.2375, 'FedAvg, CNN': 0.1375}
  )
  assert list(rows['rank']) == [1, 2, 3, 4]
  assert list(rows.index) == ['FedAvg', 'FedProx', 'FedExP, CNN', 'FedAvg, CNN']
  # Each is compared with the first curve on the same model: 0.475 - 0.35 and 0.25 - 0.475; 0.075 and 0.125.
  assert rows['baseline'].tolist() == ['FedAvg', 'FedAvg', 'FedAvg, CNN', 'FedAvg, CNN']
  assert rows.loc['FedProx', 'last_ten_diff_mean'] == pytest.approx(-0.05)
  assert rows.loc['FedExP, CNN', 'last_ten_diff_mean'] == pytest.approx(0.1)
  half = 12.7062 * 0.025  # t(0.975) with one degree of freedom, and the standard error
  assert rows.loc['FedExP, CNN', 'last_ten_diff_low'] == pytest.approx(0.1 - half, abs=1e-5)
  assert rows.loc[['FedAvg', 'FedAvg, CNN'], 'last_ten_diff_mean'].isna().all()
  assert rows['reached'].tolist() == [2, 1, 0, 0]
  assert rows['rounds_mean'].tolist()[:2] == [1.5, 1.0]
  assert rows['rounds_mean'].isna().tolist() == [False, False, True, True]
  assert rows['loss_mean'].tolist() == [7.5 / 4] * 4
  assert rows['chosen'].tolist() == ['learning rate 0.03'] * 4
  assert rows['personal_mean'].isna().all()


@pytest.mark.parametrize(('target', 'rounds'), [(0.5, 2), (0.6, 3), (0.61, np.nan), (0.05, 0)])
def test_rounds_to_the_target_are_the_first_that_reach_it(target, rounds):
  values = {f'{part}/{y}': [0.1, 0.2, 0.5, 0.6] for part in ('test', 'train') for y in ('accuracy', 'loss')}
  frame = pd.DataFrame({'round_num': range(4), **values})
  assert ranking.rounds_to(frame, target) == pytest.approx(rounds, nan_ok=True)


def test_text(grid, results, capsys):
  code, out, err = run(capsys, table.main, grid, f'--results_dir={results}')
  assert (code, err) == (0, '')
  lines = [' '.join(line.split()) for line in out.splitlines()]
  assert lines[0].startswith('three, No stragglers: test accuracy in percent')
  assert 'rank method chosen seeds accuracy difference to FedAvg rounds to 50 % training loss' in lines
  assert '1 FedAvg learning rate 0.03 2 41.2 ± 8.8 - 1.5 ± 0.7 (2/2) 1.88 ± 0' in lines
  assert '2 FedProx learning rate 0.03 2 36.3 ± 15.9 -5.0 [-227.4, +217.4] 1.0 (1/2) 1.88 ± 0' in lines
  assert any('to FedAvg, CNN - (0/2)' in line for line in lines)
  assert 'three, 90 % stragglers: as above' in lines


@pytest.mark.parametrize(
  ('form', 'said'),
  [('markdown', '| 1 | FedAvg | learning rate 0.03 | 2 | 41.2 ± 8.8 |'), ('latex', r'1 & FedAvg & learning rate 0.03')],
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
  assert curves['No stragglers', 'FedAvg', '2 seeds', 'test/accuracy']['mean'].tolist() == [0.1, 0.35, 0.6, 0.6]
  assert 'train/loss' in curves.columns.get_level_values(3)


def test_personal_models_have_a_column(grid, results, capsys):
  trial = grids.read(grid).trials[2]
  for i, config in enumerate(trial.cells({'learning_rate': 0.03})):
    path = folder_of(config, results)
    rows = pd.read_csv(path / 'metrics.csv')
    rows.assign(**{'personal/accuracy': [np.nan, 0.8, 0.9, 1.0 - 0.3 * i]}).to_csv(
      path / 'metrics.csv', index=False, na_rep='nan'
    )
  _, out, _ = run(capsys, table.main, grid, f'--results_dir={results}')
  lines = [' '.join(line.split()) for line in out.splitlines()]
  assert any(line.endswith('training loss personal') for line in lines)
  assert any('FedProx' in line and line.endswith('85.0 ± 7.1') for line in lines)
  assert any('FedAvg' in line and line.endswith('± 0 -') for line in lines)


def test_what_is_missing_is_named_and_ranked_last(grid, results, capsys):
  comparison, _ = comparisons.fill(grid, results)
  for config in (comparison.choices[2].trial.start, comparison.choices[0].cells[1]):
    (folder_of(config, results) / 'config.json').unlink()
  code, out, err = run(capsys, table.main, grid, f'--results_dir={results}')
  assert code == 0
  assert err.splitlines() == [
    'three: missing: No stragglers, FedProx: its search has not ended',
    'three: missing: No stragglers, FedAvg: seed 1: 1 of 2 seeds are there',
    'three: missing: No stragglers, FedProx: no finished run',
  ]
  assert '4 FedProx - 0 - - - -' in [' '.join(line.split()) for line in out.splitlines()]


def test_a_diverged_run_is_said(grid, results, capsys):
  comparison, _ = comparisons.fill(grid, results)
  path = folder_of(comparison.choices[0].cells[0], results)
  rows = pd.read_csv(path / 'metrics.csv')
  rows.assign(**{'train/loss': [3.0, np.nan, np.nan, np.nan]}).to_csv(path / 'metrics.csv', index=False, na_rep='nan')
  _, out, _ = run(capsys, table.main, grid, f'--results_dir={results}')
  assert any('FedAvg' in line and line.rstrip().endswith('diverged') for line in out.splitlines())


def test_the_figure_orders_methods_and_marks_what_does_not_reach_the_target(grid, results, capsys, tmp_path):
  comparison, _ = comparisons.fill(grid, results)
  left, right = dots.draw(comparison).axes
  names = [label.get_text() for label in left.get_yticklabels()]
  assert names == ['FedAvg', 'FedProx', 'FedAvg, CNN', 'FedExP, CNN']
  assert [text.get_text() for text in right.texts] == ['1 of 2', 'not reached', 'not reached']
  assert (left.get_title(), right.get_title()) == ('No stragglers', '90 % stragglers')
  assert left.get_xlabel() == '# Rounds to 50 % test accuracy'
  code, out, err = run(capsys, plot.main, grid, f'--results_dir={results}', f'--output={tmp_path}/figure.png')
  assert (code, err) == (0, '')
  assert out.count('wrote ') == 2
  assert (tmp_path / 'figure.png').stat().st_size > 10_000


@pytest.mark.parametrize(
  ('main', 'argv', 'said'),
  [
    (table.main, ['methods_mnist'], 'sweep.sh methods_mnist` makes runs there'),
    (table.main, ['figure4'], 'figure4 is not one of the figures; there are figure1, '),
    (table.main, ['methods', '--format=curves'], '--format=curves: one comparison at a time, such as methods_mnist'),
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
  """Five seeds, equal budgets, the default inside the ladder, one policy but for the curve that says so."""
  grid = grids.read(grids.find(name))
  assert grid.target
  assert {(trial.section.most, trial.section.within, *trial.section.seeds) for trial in grid.trials} == {
    (12, 1.25, 100, 101)
  }
  for trial in grid.trials:
    assert trial.seeds == [0, 1, 2, 3, 4]
    tried = trial.start
    default = Config.from_flags({'dataset': tried.dataset.name, 'algorithm': tried.algorithm.name})
    for ladder in trial.section.ladders:
      assert ladder.rungs[0] < default.flat()[ladder.flag] < ladder.rungs[-1], trial
    expected = 'drop' if 'drops' in trial.curve else 'partial'
    assert tried.straggler_policy == expected
  assert grid.trials[0].curve == 'FedAvg'
  assert len({str(trial) for trial in grid.trials}) == len(grid.trials)


def test_a_choice_in_the_words_of_a_table(grid):
  trial = grids.read(grid).trials[0]
  choice = search.Choice(trial, {'learning_rate': 0.03, 'beta': 0.1}, {'beta': 'limit'}, [])
  assert ranking.in_words(choice) == 'learning rate 0.03, beta 0.1 (end)'
