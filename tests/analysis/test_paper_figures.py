# SPDX-License-Identifier: Apache-2.0
"""The paper's figures from made runs: which runs are a curve's, what is missing, and what is drawn."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from made_runs import CONFIG, FEDAVG, csv_of

from analysis import arguments, plot
from analysis.draw import panels, sheets
from analysis.read import figure_runs, figures

METHODS = {'fedavg': FEDAVG, 'mu0': {'mu': 0.0}, 'mu1': {'mu': 1.0}}
SHARES = (0.0, 0.5, 0.9)


@pytest.fixture
def results(make_run, tmp_path):
  """Returns the folder of Figure 1's MNIST runs, three rounds of two seeds; seeds' losses are 1.0 and 1.2 at last."""
  for name, values in METHODS.items():
    for share in SHARES:
      for seed in (0, 1):
        metrics = csv_of(loss=[2.0, 1.5, 1.0 + 0.2 * seed], accuracy=[0.1, 0.5, 0.8 - 0.1 * seed])
        make_run(f'run-{name}-{share}-{seed}', metrics=metrics, rounds=2, stragglers=share, seed=seed, **values)
  return tmp_path / 'results'


def figure_of(name):
  return figures.read(arguments.FIGURES[name])


def draw(results, name='figure1', band='std'):
  figure = figure_of(name)
  filled, notes = figure_runs.fill(figure, results)
  return panels.draw(sheets.of_figure(figure, filled), band), notes


def lines(axes):
  return [(line.get_color(), line.get_linestyle(), line.get_ydata().tolist()) for line in axes.lines]


def test_lines_and_bands(results):
  figure, notes = draw(results)
  assert notes == [
    'left out: Synthetic(1, 1): no run; `bash experiments/sweep.sh figure1_synthetic` makes it '
    '(experiments/grids/figure1_synthetic.toml)',
    'left out: Shakespeare, 150 steps: no run; `bash experiments/sweep.sh figure1_shakespeare_small` makes it '
    '(experiments/grids/figure1_shakespeare_small.toml)',
  ]
  assert [axes.get_title() for axes in figure.axes] == ['No stragglers', '50 % stragglers', '90 % stragglers']
  for axes in figure.axes:
    assert lines(axes) == [(c, s, [2.0, 1.5, 1.1]) for c, s in (('#D55E00', ':'), ('#009E73', '--'), ('#0072B2', '-'))]
    assert axes.get_ylim() == (0.2, 1.5)  # the paper's
    [*bands] = axes.collections
    heights = [np.ptp(band.get_paths()[0].vertices[:, 1]) for band in bands]
    assert heights == pytest.approx([2.0 - (1.1 - 0.02**0.5)] * 3)  # from round 0's 2.0 to the band's lower edge
  caption = figure.get_suptitle().replace('\n', ' ')
  assert caption.startswith('MNIST, power law, 1000 clients')
  assert caption.endswith('mean and standard deviation over 2 seeds')
  [legend] = figure.legends
  assert [t.get_text() for t in legend.get_texts()] == ['FedAvg', r'FedProx, $\mu$ = 0', r'FedProx, $\mu$ = 1']


def test_accuracy_is_figure_7s(results):
  figure, _ = draw(results, 'figure7', 'minmax')
  assert [line.get_ydata().tolist() for line in figure.axes[2].lines] == [pytest.approx([0.1, 0.5, 0.75])] * 3
  assert figure.axes[0].get_ylabel() == 'Test accuracy (%)'
  assert figure.get_suptitle().replace('\n', ' ').endswith('mean and range from minimum to maximum over 2 seeds')


def test_data_sets_are_columns_and_stragglers_rows(results, make_run):
  synthetic = {'dataset': 'synthetic', 'partition': None, 'num_clients': 30, 'learning_rate': 0.01, 'rounds': 2}
  synthetic |= {'synthetic_alpha': 1.0, 'synthetic_beta': 1.0, 'synthetic_iid': False, 'stragglers': 0.9}
  make_run('synthetic', metrics=csv_of(loss=[3.0, 2.0, 1.0], accuracy=[0.1] * 3), **synthetic)
  figure, notes = draw(results)
  assert [axes.get_title() for axes in figure.axes] == ['Synthetic(1, 1)', 'MNIST', *[''] * 4]
  assert [len(axes.lines) for axes in figure.axes] == [0, 3, 0, 3, 1, 3]
  assert [[text.get_text() for text in axes.texts] for axes in figure.axes[::2]] == [
    ['no data'],
    ['no data'],
    ['no data: FedAvg, FedProx, $\\mu$ = 0'],
  ]
  assert sum(note.startswith('missing: Synthetic(1, 1), ') for note in notes) == 8
  assert figure.axes[0].get_ylim() == figure.axes[4].get_ylim() != figure.axes[1].get_ylim()
  assert 'over 1 to 2 seeds' in figure.get_suptitle()


def test_runs_are_known_by_their_config(results, make_run):
  """Folders' names and places say nothing, and no other config is averaged in."""
  make_run('run-mu1-0.9-2', metrics=csv_of(accuracy=[9.0] * 3), rounds=2, stragglers=0.9, seed=2, learning_rate=0.1)
  make_run('data_seed', metrics=csv_of(accuracy=[9.0] * 3), rounds=2, stragglers=0.9, seed=2, data_seed=1)
  (results / 'run-mu1-0.9-1').rename(results / 'fedavg')
  (results / 'deeper').mkdir()
  (results / 'fedavg').rename(results / 'deeper' / 'fedavg')
  (results / 'deeper' / 'fedavg' / 'inside').mkdir()
  (results / 'deeper' / 'fedavg' / 'inside' / 'config.json').write_text('no run')
  figure, notes = draw(results)
  assert lines(figure.axes[2])[2][2] == [2.0, 1.5, 1.1]
  assert [note.partition(':')[0] for note in notes] == ['left out'] * 2  # two panels without any run


def test_a_run_from_before_a_flag_was_there_is_found(results):
  assert 'initial_mu' not in CONFIG
  assert len(draw(results)[1]) == 2


def test_unfinished_and_missing_runs_are_named_and_left_out(results, make_run, capsys):
  run = results / 'run-fedavg-0.9-1'
  (run / 'metrics.csv').write_text(csv_of(accuracy=[9.0, 9.0]))
  for seed in (0, 1):
    (results / f'run-mu0-0.9-{seed}' / 'config.json').unlink()
  (results / 'run-mu1-0.9-0' / 'metrics.csv').unlink()
  (results / 'run-mu1-0.5-0' / 'config.json').write_text('{')
  figure, notes = draw(results)
  assert notes[:2] == [
    f'left out: {results}/run-mu1-0.5-0: config.json cannot be read as that of a run (JSONDecodeError: Expecting '
    'property name enclosed in double quotes: line 1 column 2 (char 1)).',
    f'left out: {results}/run-mu1-0.9-0: metrics.csv has no row yet; at least one round is needed, and the run '
    'writes it.',
  ]
  assert [note for note in notes[2:] if 'Synthetic' not in note and 'Shakespeare' not in note] == [
    r'missing: MNIST, 50 % stragglers, FedProx, $\mu$ = 1: seed 0: 1 of 2 seeds are there',
    f'left out: {run}: 1 of 2 rounds',
    'missing: MNIST, 90 % stragglers, FedAvg: seed 1: 1 of 2 seeds are there',
    r'missing: MNIST, 90 % stragglers, FedProx, $\mu$ = 0: no finished run',
    r'missing: MNIST, 90 % stragglers, FedProx, $\mu$ = 1: seed 0: 1 of 2 seeds are there',
  ]
  panel = figure.axes[2]
  assert [values for *_, values in lines(panel)] == [[2.0, 1.5, 1.0], [2.0, 1.5, 1.2]]
  assert [text.get_text() for text in panel.texts] == [r'no data: FedProx, $\mu$ = 0']
  assert plot.main(['figure1', f'--results_dir={results}']) == 0
  assert 'figure1: missing: MNIST, 90 % stragglers, FedProx, mu = 0: no finished run' in capsys.readouterr().out


def test_of_two_runs_with_one_seed_the_fuller_is_taken(results, make_run):
  full = csv_of(loss=[2.0, 1.5, 1.0], accuracy=[0.1, 0.5, 0.8], variance=[3.0, 2.0, 1.0])
  make_run('with-variance', metrics=full, rounds=2, stragglers=0.0, rounds_per_dissimilarity=1)
  filled, notes = figure_runs.fill(figure_of('figure8'), results)
  assert [
    cell.values('dissimilarity/variance').to_numpy().tolist() for cell in filled if cell.config.flat().get('mu') == 1
  ] == [[]]
  assert filled[1].runs[0]['run'].iloc[0].endswith('with-variance')
  assert r'missing: MNIST, FedProx, $\mu$ = 0 (FedAvg): dissimilarity/variance was not measured' in notes
  assert not any('differ' in note for note in notes)
  make_run('other', metrics=csv_of(accuracy=[0.1, 0.5, 0.7]), rounds=2, stragglers=0.0, runtime='worker')
  _, notes = figure_runs.fill(figure_of('figure1'), results)
  other = f'{results}/other'
  assert any(note.startswith(f'left out: {other}: ') and note.endswith('values differ') for note in notes)


def test_a_longer_run_is_cut_to_the_papers_rounds(results, make_run):
  for cell in figure_of('figure8').cells[2:]:
    values = {key: value for key, value in cell.config.flat().items() if key in CONFIG}
    metrics = csv_of(accuracy=[0.1] * 103, variance=[1.0] * 103)
    values |= {'name': f'long-{cell.config.flat().get("mu")}', 'rounds': 102, 'seed': 7}
    make_run(values.pop('name'), metrics=metrics, **values)
  filled, _ = figure_runs.fill(figure_of('figure8'), results)
  assert all(cell.runs[7]['round_num'].max() == 100 for cell in filled)


@pytest.mark.parametrize('last', ['1e9', 'inf', 'nan'])
def test_a_diverged_loss_is_marked_and_flattens_nothing(results, last):
  (results / 'run-fedavg-0.9-1' / 'metrics.csv').write_text(csv_of(loss=[2.0, 1.5, last], accuracy=[0.1] * 3))
  figure, _ = draw(results)
  assert figure.axes[2].get_ylim()[1] < 10
  marks = [m for m in figure.axes[2].collections if len(m.get_offsets()) and m.get_offsets()[0].tolist() == [2, 1]]
  assert len(marks) == 1
  assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == 'beyond the axis'
  assert not any(len(axes.collections) > 3 for axes in figure.axes[:2])


def test_figures_are_written_and_the_same_bytes_anywhere(results, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert plot.main(['figure1']) == 0  # --results_dir=results is the default
  assert capsys.readouterr().out.splitlines()[-2:] == ['wrote results/figure1.png', 'wrote results/figure1.pdf']
  assert plot.main(['figure1', 'figure7', '--output=new/here']) == 0
  (tmp_path / 'matplotlibrc').write_text('axes.facecolor: red\n')
  command = [sys.executable, '-X', 'importtime', plot.__file__, 'all', '--output=there']
  environment = {**os.environ, 'PYTHONHASHSEED': '7'}
  environment.pop('PYTHONPATH', None)
  ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
  assert ended.returncode == 0, ended.stderr[-2000:]
  assert 'tensorflow' not in ended.stderr
  assert 'figure9: results: no run of this figure is in there; `bash experiments/sweep.sh figure9_' in ended.stdout
  for name in ('figure1.png', 'figure1.pdf', 'figure7.png', 'figure7.pdf'):
    content = (tmp_path / 'new' / 'here' / name).read_bytes()
    assert content == (tmp_path / 'there' / name).read_bytes()
    assert b'CreationDate' not in content
    assert str(tmp_path).encode() not in content
  assert (tmp_path / 'results' / 'figure1.pdf').read_bytes() == (tmp_path / 'there' / 'figure1.pdf').read_bytes()


def test_all_words_fit(results):
  figure, _ = draw(results)
  figure.draw_without_rendering()
  boxes = [figure.legends[0].get_window_extent(), *(axes.get_tightbbox() for axes in figure.axes)]
  for box in boxes:
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
  assert all(axes.bbox.height > 0.8 * figure.dpi for axes in figure.axes)


@pytest.mark.parametrize(
  ('argv', 'said'),
  [
    (['figure4'], 'figure4 is not one of the figures; there are figure1, figure1_paper, '),
    (['figure1', '--results_dir=nowhere'], 'nowhere does not exist; `bash experiments/sweep.sh` makes runs there'),
    (
      ['figure1', '--results_dir=.'],
      'bash experiments/sweep.sh figure1_synthetic figure1_mnist figure1_shakespeare_small` makes ',
    ),
    (['all', '--results_dir=.'], '.: no run of any figure is in there; `bash experiments/sweep.sh` makes some.'),
    (['figure1', 'a-run'], 'a-run: figure1 finds its runs in --results_dir; give figures or runs, not both.'),
    (['figure1', '--hue=mu'], '--hue=mu: figure1 does not use it'),
    (['a-run', '--results_dir=x'], '--results_dir=x: a-run does not use it'),
  ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, argv, said):
  monkeypatch.chdir(tmp_path)
  assert plot.main(argv) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert line.startswith('error: ')
  assert said in line


def test_adaptive_mu_has_a_style_of_its_own(make_run, tmp_path):
  for cell in figure_of('figure3').cells:
    folder = make_run(str(cell).replace('/', ''), metrics=csv_of(accuracy=[0.1, 0.2]))
    (folder / 'config.json').write_text(json.dumps({'config': {**cell.config.flat(), 'rounds': 1}}))
  figure, notes = draw(tmp_path / 'results', 'figure3')
  assert notes == []
  assert [line.get_linestyle() for line in figure.axes[0].lines] == ['--', '-.', '-']
  assert r'FedProx, adaptive $\mu$' in [text.get_text() for text in figure.legends[0].get_texts()]
