# SPDX-License-Identifier: Apache-2.0
"""Tables: their numbers are worked out by hand, their forms are as each kind of reader needs them."""

import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_runs import FEDAVG, csv_of

from analysis import arguments, table
from analysis.numbers import formats, paper_gain, scores
from analysis.read import figure_runs, figures
from fedprox_tff.sweeps import grids

# Test accuracies of rounds 0, 1, 2 by method and seed, all at 90 % stragglers; the losses never stop a run.
ACCURACIES = {
  'fedavg': {0: [0.1, 0.6, 0.5], 1: [0.1, 0.3, 0.3], 2: [0.1, 0.4, 0.4]},
  'mu1': {0: [0.1, 0.5, 0.7], 1: [0.1, 0.7, 0.6]},
}


@pytest.fixture
def results(make_run, tmp_path):
  for method, values in (('fedavg', FEDAVG), ('mu1', {'mu': 1.0})):
    for seed, accuracy in ACCURACIES[method].items():
      metrics = csv_of(accuracy=accuracy, loss=[2.0, 1.5, 1.0])
      make_run(f'{method}{seed}', metrics=metrics, rounds=2, stragglers=0.9, seed=seed, **values)
  return tmp_path / 'results'


def figure_of(name):
  return figures.read(arguments.FIGURES[name])


def run(capsys, *argv):
  code = table.main(list(argv))
  return code, *capsys.readouterr()


def test_scores_and_paired_differences(results):
  filled, _ = figure_runs.fill(figure_of('figure7'), results)
  made = scores.score_table(filled).set_index(['panel', 'curve']).loc['MNIST, 90 % stragglers']
  assert made['seeds'].tolist() == [3, 0, 2]
  fedavg, fedprox = made.iloc[0], made.iloc[2]
  assert fedavg[['final_mean', 'final_std']].tolist() == pytest.approx([0.4, 0.1])
  assert fedavg['best_mean'] == pytest.approx((0.6 + 0.3 + 0.4) / 3)
  assert fedavg['last_ten_mean'] == pytest.approx((1.2 + 0.7 + 0.9) / 9)
  # Of the seeds 0 and 1, which both have: 0.7 - 0.5 and 0.6 - 0.3.
  assert fedprox['pairs'] == 2
  assert fedprox[['final_diff_mean', 'final_diff_std']].tolist() == pytest.approx([0.25, 0.05 * 2**0.5])
  # t(0.975) with one degree of freedom is 12.7062; the standard error is 0.05.
  assert fedprox[['final_diff_low', 'final_diff_high']].tolist() == pytest.approx([0.25 - 0.63531, 0.25 + 0.63531])
  assert fedprox['best_diff_mean'] == pytest.approx((0.7 - 0.6 + 0.7 - 0.3) / 2)
  assert made.iloc[1][['final_mean', 'final_diff_mean']].isna().all()


def test_a_curve_with_a_partner_is_compared_with_it(make_run, tmp_path, capsys):
  grid = tmp_path / 'mine.toml'
  grid.write_text("""
    [base]
    rounds = 1
    [grid]
    epochs = [1, 2]
    [[curve]]
    name = 'FedAvg'
    algorithm = 'fedavg'
    [[curve]]
    name = 'FedProx, mu = 0'
    mu = 0.0
    [[curve]]
    name = 'FedProx, mu = 1'
    mu = 1.0
    partner = 'FedProx, mu = 0'
    [figure]
    columns = 'epochs'
  """)
  finals = {'FedAvg': 0.5, 'FedProx, mu = 0': 0.6, 'FedProx, mu = 1': 0.8}
  for cell in grids.read(grid).cells:
    folder = make_run(cell.config.name, metrics=csv_of(accuracy=[0.1, finals[cell.curve]]))
    (folder / 'config.json').write_text(json.dumps({'config': cell.config.record()}))
  made = scores.score_table(figure_runs.fill(figures.read(grid), tmp_path / 'results')[0])
  assert made['partner'].tolist() == ['FedAvg', 'FedAvg', 'FedProx, mu = 0'] * 2
  assert made['final_diff_mean'].tolist()[1:3] == pytest.approx([0.1, 0.2])
  assert table.main([str(grid), f'--results_dir={tmp_path / "results"}']) == 0
  lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
  assert '$E$ = 1 FedProx, mu = 0 1 +10.0 +10.0 +5.0'.replace('$', '') in lines
  assert '$E$ = 1 FedProx, mu = 1, to FedProx, mu = 0 1 +20.0 +20.0 +10.0'.replace('$', '') in lines


def test_a_figure_may_compare_with_another_curve_than_the_first(results):
  filled, _ = figure_runs.fill(figure_of('figure7'), results)
  made = scores.score_table(filled, r'FedProx, $\mu$ = 1').set_index(['panel', 'curve']).loc['MNIST, 90 % stragglers']
  assert made['partner'].tolist() == ['FedProx, mu = 1'] * 3
  assert made.loc['FedAvg', 'final_diff_mean'] == pytest.approx(-0.25)


def test_last_ten(make_run, tmp_path):
  make_run('a', metrics=csv_of(accuracy=[0.9] * 5 + [0.1] * 9 + [0.2]), rounds=14)
  filled, _ = figure_runs.fill(figure_of('figure7'), tmp_path / 'results')
  [cell] = [cell for cell in filled if cell.runs]
  assert scores.scores_of(cell)['last_ten'].tolist() == pytest.approx([0.11])
  assert scores.scores_of(cell)['best'].tolist() == [0.9]


@pytest.mark.parametrize(
  ('losses', 'stop'),
  [
    ([2.0, 1.5, 1.0], 2),  # ends
    ([2.0, 1.5, 1.50009, 1.0], 2),  # converged
    ([2.0, 1.5, 1.5002, 1.0], 3),
    ([1.0, *np.linspace(1.1, 1.9, 9), 2.001, 1.0], 10),  # diverged: 1.001 above ten rounds earlier
    ([1.0, *np.linspace(1.1, 1.9, 9), 1.999, 1.0], 11),
    ([1.0, 9.0, 1.0], 2),  # a jump of one round is no divergence
    ([2.0, np.inf, 1.0], 1),
    ([2.0, np.nan, 1.0], 1),
  ],
)
def test_where_the_papers_rule_stops(losses, stop):
  assert paper_gain.stop_round(pd.Series(losses)) == stop


def test_the_rule_compares_round_with_round():
  """Where only each second round was evaluated, no two rounds follow each other, but ten rounds back is there."""
  even = range(0, 16, 2)
  assert paper_gain.stop_round(pd.Series([1.0] * 8, index=even)) == 14
  assert paper_gain.stop_round(pd.Series([1.0, 1.0, 1.0, 1.0, 1.0, 2.5, 3.0, 3.0], index=even)) == 10


def test_the_papers_gain(results):
  filled, _ = figure_runs.fill(figure_of('figure7'), results)
  gains = paper_gain.gains(figure_of('figure7'), filled).set_index('curve')
  row = gains.loc['FedProx, mu = 1']
  assert row['seeds'] == 2
  assert row[['baseline_accuracy', 'curve_accuracy', 'gain']].tolist() == pytest.approx([0.4, 0.65, 0.25])
  assert row[['baseline_rounds', 'curve_rounds']].tolist() == [2, 2]
  assert gains.loc['FedProx, mu = 0', 'seeds'] == 0
  assert paper_gain.gains(figure_of('figure2'), figure_of('figure2').cells).empty


def test_text(results, capsys):
  code, out, err = run(capsys, 'figure7', f'--results_dir={results}')
  assert code == 0
  lines = [' '.join(line.split()) for line in out.splitlines()]
  assert 'MNIST, 90 % stragglers FedAvg 3 40.0 ± 10.0 43.3 ± 15.3 31.1 ± 8.4' in lines
  assert 'MNIST, 90 % stragglers FedProx, mu = 0 0 - - -' in lines
  assert any('mu = 1 2 +25.0 ± 7.1 [-38.5, +88.5] +25.0 ± 21.2 [' in line for line in lines)
  assert 'MNIST FedProx, mu = 1 2 40.0 (2) 65.0 (2) +25.0' in lines
  assert 'average of 1 FedProx, mu = 1 +25.0' in lines
  assert 'average of 0 FedProx, mu = 0 -' in lines
  assert 'figure7: missing: MNIST, 90 % stragglers, FedProx, mu = 0: no finished run' in err.splitlines()


def test_csv_has_all_digits(results, capsys):
  _, out, _ = run(capsys, 'figure7', f'--results_dir={results}', '--format=csv')
  filled, _ = figure_runs.fill(figure_of('figure7'), results)
  pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), scores.score_table(filled), check_dtype=False)


def test_curves(results, capsys):
  _, out, _ = run(capsys, 'figure1', f'--results_dir={results}', '--format=curves')
  lines = out.splitlines()
  assert len(lines) == 5 + 3
  assert lines[-1] == '2,1,0,1,0'
  _, out, _ = run(capsys, 'figure7', f'--results_dir={results}', '--format=curves')
  curves = pd.read_csv(io.StringIO(out), header=[0, 1, 2, 3, 4], index_col=0)
  fedavg = curves['MNIST, 90 % stragglers', 'FedAvg', '3 seeds', 'test/accuracy']
  assert fedavg['mean'].tolist() == [0.1, 0.43333, 0.4]
  assert fedavg['std'].tolist() == pytest.approx([0, 0.15275, 0.1], abs=1e-15)
  assert curves.shape[1] == 4  # nothing is made up for curves that have no runs


def test_markdown_and_latex():
  made = formats.Table(r'A $\mu$ title', ['curve', 'final'], [[r'50 %, $\mu$ = 1', '+1.5 ± 0.2'], ['b', '-']], labels=1)
  assert formats.markdown(made).splitlines() == [
    '**A mu title**',
    '',
    '| curve | final |',
    '| --- | ---: |',
    '| 50 %, mu = 1 | +1.5 ± 0.2 |',
    '| b | - |',
  ]
  assert formats.latex(made).splitlines() == [
    '% A mu title',
    r'\begin{tabular}{lr}',
    r'\toprule',
    r'curve & final \\',
    r'\midrule',
    r'50 \%, $\mu$ = 1 & $+1.5 \pm 0.2$ \\',
    r'b & -- \\',
    r'\bottomrule',
    r'\end{tabular}',
  ]


@pytest.mark.parametrize('name', ['markdown', 'latex'])
def test_formats_on_the_command_line(results, capsys, name):
  code, out, _ = run(capsys, 'figure7', f'--results_dir={results}', f'--format={name}')
  assert code == 0
  assert {'markdown': '| MNIST, 90 % stragglers | FedAvg | 3 | 40.0 ± 10.0 |', 'latex': r'$40.0 \pm 10.0$'}[name] in out


@pytest.mark.parametrize(
  ('argv', 'said'),
  [
    (['figure4'], 'figure4 is not one of the figures; there are figure1, '),
    (['all'], 'all is not one figure; there are figure1, '),
    (['results/run'], 'results/run is not one figure; there are figure1, '),
    (
      ['figure7', '--results_dir=.'],
      '`bash experiments/sweep.sh figure1_synthetic figure1_mnist figure1_shakespeare_small` makes ',
    ),
  ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, argv, said):
  monkeypatch.chdir(tmp_path)
  code, out, err = run(capsys, *argv)
  assert code == 2
  assert out == ''
  [line] = err.splitlines()
  assert said in line


def test_it_runs_as_a_file_without_tensorflow_and_help_is_quick(results):
  command = [sys.executable, '-X', 'importtime', table.__file__]
  ended = subprocess.run([*command, 'figure7', f'--results_dir={results}'], capture_output=True, text=True, check=True)
  assert 'average of 1' in ended.stdout
  assert 'tensorflow' not in ended.stderr
  assert 'matplotlib' not in ended.stderr
  ended = subprocess.run([*command, '--help'], capture_output=True, text=True, check=True)
  assert not any(slow in ended.stderr for slow in ('pandas', 'numpy', 'scipy', 'tensorflow'))


def test_a_figure_of_clients_own_models_has_a_table_of_what_serves_them(make_run, tmp_path, capsys):
  """FedAvg's clients have no models of their own: the global one serves them."""
  grid = tmp_path / 'mine.toml'
  grid.write_text(
    "[base]\nrounds = 1\n[[curve]]\nname = 'FedAvg'\nalgorithm = 'fedavg'\n[[curve]]\nname = 'Ditto'\nalgorithm = "
    "'ditto'\n[figure]\ny = ['personal/accuracy']"
  )
  header = 'round_num,test/accuracy,test/loss,train/accuracy,train/loss,personal/accuracy'
  for cell in figures.read(grid).cells:
    own = ('0.3', '0.9') if cell.config.algorithm.name == 'ditto' else ('nan', 'nan')
    rows = [f'{i},0.{i + 4},1.0,0.5,1.0,{each}' for i, each in enumerate(own)]
    folder = make_run(cell.config.name, metrics='\n'.join([header, *rows, '']))
    (folder / 'config.json').write_text(json.dumps({'config': cell.config.record()}))
  assert table.main([str(grid), f'--results_dir={tmp_path / "results"}']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith('mine: test accuracy of the models that serve the clients in percent')
  finals = {line.split()[0]: line.split()[2] for line in lines[3:5]}
  assert finals == {'FedAvg': '50.0', 'Ditto': '90.0'}
