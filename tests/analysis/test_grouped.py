# SPDX-License-Identifier: Apache-2.0
"""Any runs in rows and columns of panels, grouped over their seeds."""

import pytest
from made_runs import FEDAVG, csv_of

from analysis import plot
from analysis.draw import grouped, panels
from analysis.read.runs import load_runs
from fedprox_tff.core.errors import UserError


@pytest.fixture
def runs(make_run):
  """Returns runs of two methods, two shares of stragglers and two seeds; the last accuracy is unlike in all."""
  made = []
  for i, (values, share) in enumerate([(FEDAVG, 0.0), (FEDAVG, 0.9), ({'mu': 0.5}, 0.0), ({'mu': 0.5}, 0.9)]):
    for seed in (0, 1):
      last = round(0.1 * (i + 1) + 0.04 * seed, 2)
      metrics = csv_of(accuracy=[0.1, 0.2, last], loss=[2.0, 1.5, 1.0])
      made.append(make_run(f'{i}-{seed}', metrics=metrics, stragglers=share, seed=seed, **values))
  return made


def sheet_of(runs, **arguments):
  return grouped.sheet_of(load_runs(runs), **{'x': 'round_num', 'y': 'test/accuracy', **arguments})


def test_rows_columns_and_hue(runs):
  sheet = sheet_of(runs, hue=['mu'], row='dataset', col='stragglers')
  assert (sheet.rows, sheet.columns) == (['MNIST'], ['No stragglers', '90 % stragglers'])
  [[none, most]] = sheet.panels
  assert list(none.curves) == list(most.curves) == ['FedAvg', r'FedProx, $\mu$ = 0.5']
  assert none.curves['FedAvg'].to_numpy().tolist() == [[0.1, 0.1], [0.2, 0.2], [0.1, 0.14]]
  assert most.curves[r'FedProx, $\mu$ = 0.5'].loc[2].tolist() == [0.4, 0.44]
  assert sheet.full_caption('std').endswith('mean and standard deviation over 2 seeds')


def test_without_hue_all_that_differs_is_a_curve(runs):
  [[panel]] = sheet_of(runs).panels
  assert list(panel.curves) == [
    *('FedAvg, no stragglers', 'FedAvg, 90 % stragglers'),
    *(r'FedProx, $\mu$ = 0.5, no stragglers', r'FedProx, $\mu$ = 0.5, 90 % stragglers'),
  ]
  [[panel, _]] = sheet_of(runs, col='stragglers').panels
  assert list(panel.curves) == ['FedAvg', r'FedProx, $\mu$ = 0.5']


def test_x_of_the_config(runs, make_run):
  more = [make_run(f'more-{seed}', metrics=csv_of(accuracy=[0.1, 0.7]), stragglers=0.9, seed=seed) for seed in (0, 1)]
  [[panel]] = sheet_of([*runs[-2:], *more], x='config/mu', hue=['stragglers']).panels
  table = panel.curves['90 % stragglers']
  assert table.index.tolist() == [0.5, 1.0]
  assert table.to_numpy().tolist() == [[0.4, 0.44], [0.7, 0.7]]  # of last rounds
  with pytest.raises(UserError, match=r'0-0: --x=mu needs numbers, but this run has mu = '):
    sheet_of(runs, x='config/mu', hue=['stragglers'])


def test_an_axis_without_a_name_is_refused(runs):
  with pytest.raises(UserError, match='is not a key of the config'):
    sheet_of(runs[:2], x='config/')


def test_rounds_may_be_drawn_too(runs):
  [[panel]] = sheet_of(runs[:2], x='train/loss', y='round_num').panels
  assert [table.to_numpy().tolist() for table in panel.curves.values()] == [[[0, 0], [1, 1], [2, 2]]]


def test_x_of_the_csv(runs):
  [[panel]] = sheet_of(runs[:2], x='train/loss').panels
  assert panel.curves['FedAvg'].index.tolist() == [2.0, 1.5, 1.0]


def test_rounds_are_those_that_all_seeds_have(runs, make_run):
  long = make_run('long', metrics=csv_of(accuracy=[0.3] * 9), stragglers=0.0, seed=2, **FEDAVG)
  [[panel]] = sheet_of([*runs[:2], long]).panels
  assert panel.curves['FedAvg'].index.tolist() == [0, 1, 2]
  assert panel.curves['FedAvg'].shape[1] == 3


def test_runs_that_differ_in_more_than_seeds_are_no_curve(runs, make_run):
  with pytest.raises(UserError, match=r'0-0 and .*1-0 would be one curve \(FedAvg\), but differ in stragglers; name'):
    sheet_of(runs, hue=['mu'])
  again = make_run('again', stragglers=0.0, runtime='worker', **FEDAVG)
  with pytest.raises(UserError, match=r'0-0 and .*again are one curve \(.*\) and have the same seed; leave one out'):
    sheet_of([*runs, again])


@pytest.mark.parametrize('x', ['dataset', 'algorithm', 'model', 'partition', 'name'])
def test_x_that_is_no_number_is_refused(runs, x):
  with pytest.raises(UserError, match=rf'--x={x} needs numbers, but this run has {x} = '):
    sheet_of(runs[:2], x=x)


def test_what_the_x_axis_shows_is_not_said_again(runs, make_run):
  more = [make_run(f'more-{seed}', metrics=csv_of(accuracy=[0.1, 0.7]), stragglers=0.9, seed=seed) for seed in (0, 1)]
  [[panel]] = sheet_of([*runs[-2:], *more], x='config/mu').panels
  assert list(panel.curves) == ['FedProx']
  assert panel.curves['FedProx'].index.tolist() == [0.5, 1.0]


def test_where_states_are_kept_makes_no_other_curve(make_run):
  scaffold = {'algorithm': 'scaffold', 'mu': None, 'weighting': 'uniform', 'straggler_policy': 'drop'}
  made = [
    make_run(f'{seed}', seed=seed, client_states=place, **scaffold) for seed, place in enumerate(('memory', 'disk'))
  ]
  [[panel]] = sheet_of(made).panels
  assert [table.shape[1] for table in panel.curves.values()] == [2]


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    ({'hue': ['moo']}, 'moo is not a key of the config of these runs; there are algorithm, '),
    ({'row': 'moo'}, 'moo is not a key of the config'),
    ({'y': 'moo'}, 'moo is not a column of metrics.csv of these runs; there are round_num, '),
    ({'x': 'moo'}, 'moo is not a key of the config, nor a column of metrics.csv (round_num, '),
  ],
)
def test_unknown_names(runs, arguments, said):
  with pytest.raises(UserError) as error:
    sheet_of(runs, **arguments)
  assert said in str(error.value)


def test_a_quantity_that_was_not_measured(runs, make_run):
  measured = make_run('b', metrics=csv_of(accuracy=[0.1], variance=[1.0]), seed=9)
  with pytest.raises(UserError, match='0-0: dissimilarity/variance was not measured'):
    sheet_of([runs[0], measured], y='dissimilarity/variance')


def test_the_command_line(runs, tmp_path, capsys):
  argv = [*map(str, runs), '--hue=algorithm,mu', '--col=stragglers', '--y=train/loss', '--band=ci95']
  assert plot.main([*argv, f'--output={tmp_path}/x']) == 0
  assert (tmp_path / 'x.png').read_bytes().startswith(b'\x89PNG')
  assert b'train/loss against round_num' in (tmp_path / 'x.png').read_bytes()
  assert plot.main([*map(str, runs), '--hue=moo']) == 2
  assert len(capsys.readouterr().err.splitlines()) == 1


def test_curves_are_drawn_over_their_own_x(runs):
  sheet = sheet_of(runs, x='train/loss', hue=['mu'], col='stragglers')
  figure = panels.draw(sheet, 'std')
  assert [axes.get_xlabel() for axes in figure.axes] == ['Training loss'] * 2
  assert figure.axes[0].lines[0].get_xdata().tolist() == [2.0, 1.5, 1.0]
  assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
