# SPDX-License-Identifier: Apache-2.0
"""The figure: its curves are the CSV's evaluated rounds, and its files, notes and errors are as promised."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from made_runs import CONFIG, FEDAVG, csv_text

from analysis import plot, table
from analysis.draw import curves, looks
from analysis.read import runs
from fedprox_tff.core.errors import UserError

PLOT = pathlib.Path(plot.__file__)


def draw(*folders):
  return curves.draw(runs.load_runs(folders))


def test_curves_are_the_evaluated_rounds(make_run):
  other = make_run('b', **FEDAVG, metrics=csv_text(['2.0', '1.5', '1.75'], mu=0.0))
  loss, accuracy = draw(make_run('a'), other).axes
  assert len(loss.lines) == len(accuracy.lines) == 2
  assert [line.get_xdata().tolist() for line in loss.lines] == [[0, 2, 4], [0, 1, 2]]
  assert [line.get_ydata().tolist() for line in loss.lines] == [[2.5, 1.25, 2.2738632088209076], [2.0, 1.5, 1.75]]
  assert [line.get_xdata().tolist() for line in accuracy.lines] == [[0, 2, 4], [0, 1, 2]]
  assert [line.get_ydata().tolist() for line in accuracy.lines] == [[0.1, 0.3, 0.5], [0.1, 0.2, 0.3]]


def test_words_of_the_figure(make_run):
  figure = draw(make_run('a'), make_run('b', **FEDAVG))
  loss, accuracy = figure.axes
  assert [panel.get_xlabel() for panel in figure.axes] == ['# Rounds'] * 2
  assert (loss.get_ylabel(), accuracy.get_ylabel()) == ('Training loss', 'Test accuracy (%)')
  assert accuracy.yaxis.get_major_formatter()(0.25) == '25'
  [legend] = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == [r'FedProx, $\mu$ = 1', 'FedAvg']
  assert figure.get_suptitle().startswith('MNIST, ')
  assert '$E$ = 20' in figure.get_suptitle()


def test_all_words_fit_the_figure(make_run):
  made = [make_run(f'a-run-with-quite-a-long-name-{i}', epochs=i + 1, seed=i, batch_size=i + 1) for i in range(15)]
  figure = draw(*made)
  figure.draw_without_rendering()
  boxes = [figure.legends[0].get_window_extent(), *(panel.get_tightbbox() for panel in figure.axes)]
  for box in boxes:
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
  for panel in boxes[1:]:
    assert panel.y0 > boxes[0].y1  # the legend is below
  assert all(panel.bbox.height > 1.2 * figure.dpi for panel in figure.axes)  # 1.2 inches, whatever is around them


def test_a_single_point_is_seen(make_run):
  loss, _ = draw(make_run('a', metrics=csv_text(['2.0']))).axes
  assert loss.lines[0].get_marker() == 'o'


def test_line_styles_are_those_of_the_paper():
  chosen = looks.choose_looks([CONFIG, CONFIG | FEDAVG, CONFIG | {'mu': 0.0}])
  assert [look.style for look in chosen] == ['-', ':', '--']
  assert [look.colour for look in chosen] == ['#0072B2', '#D55E00', '#009E73']  # blue, vermilion, green


def test_a_method_keeps_its_colour():
  configs = [CONFIG, CONFIG | {'mu': 0.1}, CONFIG | FEDAVG, CONFIG | {'mu': 0.0}]
  colours = [look.colour for look in looks.choose_looks(configs)]
  assert len(set(colours)) == 4
  assert [look.colour for look in looks.choose_looks(configs[::-1])] == [
    colours[3],
    colours[2],
    colours[0],
    colours[1],
  ]


def test_no_two_curves_look_alike():
  chosen = looks.choose_looks([CONFIG | {'mu': mu % 2} for mu in range(56)])
  assert len({(look.colour, look.marker) for look in chosen}) == 56
  with pytest.raises(UserError, match='57 runs: at most 56'):
    looks.choose_looks([CONFIG] * 57)


def test_markers_are_drawn_without_crowding(make_run):
  losses = [str(2 - i / 100) for i in range(100)]
  loss, _ = draw(*(make_run(f'{seed}', seed=seed, metrics=csv_text(losses)) for seed in range(9))).axes
  assert [line.get_marker() for line in loss.lines] == [''] * 7 + ['o'] * 2
  offset, step = loss.lines[8].get_markevery()
  assert (offset, step) == (3, 10)


@pytest.mark.parametrize('last', ['1e9', '1e300', 'inf', '-inf'])
def test_a_diverged_loss_does_not_flatten_the_others(make_run, capsys, last):
  bad = make_run('bad', metrics=csv_text(['2.0', '1.0', '1.5', '1.25', last]))
  good = make_run('good', **FEDAVG, metrics=csv_text(['2.5', '0.5', '0.5', '0.5', '0.5']))
  figure = draw(good, bad)
  low, high = figure.axes[0].get_ylim()
  assert 0.3 < low < 0.5
  assert 2.5 < high < 2.7
  [mark] = figure.axes[0].collections
  assert mark.get_offsets().tolist() == [[4, 1]]
  assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == 'loss beyond the axis'
  assert plot.main([str(good), str(bad)]) == 0
  notes = [line for line in capsys.readouterr().out.splitlines() if ': diverged: ' in line]
  assert notes == [
    f'{bad}: diverged: training loss above 5 or not finite in 1 of 5 evaluated rounds, first in round 4 '
    '(beyond the axis)'
  ]


def test_losses_within_twice_the_first_are_all_shown(make_run, capsys):
  run = make_run('a', metrics=csv_text(['2.5', '1.0', '4.9', '1.0', '1.0']))
  figure = draw(run)
  assert figure.axes[0].get_ylim()[1] > 4.9
  assert not figure.axes[0].collections
  plot.main([str(run)])
  assert ': diverged: ' not in capsys.readouterr().out


def test_where_most_has_diverged_the_axis_is_logarithmic(make_run, capsys):
  run = make_run('a', metrics=csv_text(['2.0', '1e3', '1e9', '1e8', 'inf']))
  figure = draw(run)
  assert figure.axes[0].get_yscale() == 'log'
  assert figure.axes[0].get_ylim()[1] > 1e9
  assert [mark.get_offsets().tolist() for mark in figure.axes[0].collections] == [[[4, 1]]]
  plot.main([str(run)])
  assert 'in 4 of 5 evaluated rounds, first in round 1 (the axis is logarithmic)' in capsys.readouterr().out


def test_a_loss_that_never_was_finite(make_run):
  assert plot.main([str(make_run('a', metrics=csv_text(['inf', 'inf'])))]) == 0


def test_unfinished_runs_are_drawn_and_noted(make_run, capsys):
  made = [make_run('a', rounds=100), make_run('b', seed=1), make_run('c', seed=2, rounds=3)]
  assert plot.main([str(run) for run in made]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines == [
    f'{made[0]}: unfinished: 4 of 100 rounds',
    f'wrote {made[0].parent / "curves.png"}',
    f'wrote {made[0].parent / "curves.pdf"}',
  ]


def test_files_are_where_they_are_said_to_be(make_run, tmp_path, capsys, monkeypatch):
  run, other = make_run('a'), make_run('b', seed=1)
  monkeypatch.chdir(tmp_path / 'results')

  def written(*argv):
    assert plot.main(list(argv)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('wrote ')]
    return [line.removeprefix('wrote ') for line in lines]

  for argv, stem in [
    (['a'], 'a/curve'),
    (['a', 'a/'], 'a/curve'),
    (['a', str(other)], 'curves'),
    ([str(run), '--output=new/folder/mu=0.5'], 'new/folder/mu=0.5'),
    (['a', '--output=here.pdf'], 'here'),
    (['a', '--output=.'], 'curve'),
    (['a', 'b', '--output=new/folder/'], 'new/folder/curves'),
    (['a', f'--output={tmp_path}/there.png'], f'{tmp_path}/there'),
  ]:
    assert written(*argv) == [f'{stem}.png', f'{stem}.pdf']
    assert pathlib.Path(f'{stem}.png').read_bytes().startswith(b'\x89PNG')
    assert pathlib.Path(f'{stem}.pdf').read_bytes().startswith(b'%PDF')


def test_runs_from_all_over_the_machine_are_drawn_here(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert plot.default_output([pathlib.Path('/x/a'), pathlib.Path('/y/b')]) == tmp_path / 'curves'
  assert plot.default_output([pathlib.Path('/x/y/a'), pathlib.Path('/x/z/b')]) == pathlib.Path('/x/curves')


def test_earlier_figures_are_left_out(make_run, capsys):
  made = [make_run('a'), make_run('b', seed=1)]
  plot.main([str(run) for run in made])
  figure = made[0].parent / 'curves.png'
  capsys.readouterr()
  assert plot.main([str(path) for path in sorted(figure.parent.iterdir())]) == 0
  out = capsys.readouterr().out
  assert f'{figure}: a figure, not a run; left out' in out
  assert f'wrote {figure}' in out


@pytest.mark.parametrize('kind', ['nothing', 'only a figure', 'no metrics', 'no place'])
def test_bad_input_is_one_line_and_exit_code_2(make_run, tmp_path, capsys, kind):
  run = make_run('a')
  argv, culprit = {
    'nothing': ([str(run), str(tmp_path / 'nothing')], tmp_path / 'nothing'),
    'only a figure': ([str(run / 'curve.png')], run / 'curve.png'),
    'no metrics': ([str(run)], run),
    'no place': ([str(run), f'--output={run}/metrics.csv/x'], run / 'metrics.csv' / 'x.png'),
  }[kind]
  if kind == 'only a figure':
    culprit.touch()
  if kind == 'no metrics':
    (run / 'metrics.csv').write_text('')
  assert plot.main(argv) == 2
  captured = capsys.readouterr()
  [line] = captured.err.splitlines()
  assert line.startswith(f'error: {culprit}')
  assert 'wrote' not in captured.out


def test_the_same_input_gives_the_same_bytes_anywhere(make_run, tmp_path):
  made = [make_run('a'), make_run('b', **FEDAVG)]
  assert plot.main([*map(str, made), f'--output={tmp_path}/here']) == 0
  # As a user types it, from another folder, with other settings of Matplotlib; and without TensorFlow.
  (tmp_path / 'matplotlibrc').write_text('axes.facecolor: red\nbackend: nothing_like_this\n')
  command = [sys.executable, '-X', 'importtime', str(PLOT), 'results/a', 'results/b', '--output=there']
  environment = {**os.environ, 'PYTHONHASHSEED': '7', 'SOURCE_DATE_EPOCH': '1'}
  environment.pop('PYTHONPATH', None)
  ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
  assert ended.returncode == 0, ended.stderr[-2000:]
  assert ended.stdout == 'wrote there.png\nwrote there.pdf\n'
  assert 'matplotlib' in ended.stderr
  assert 'tensorflow' not in ended.stderr
  for suffix in ('.png', '.pdf'):
    content = (tmp_path / f'here{suffix}').read_bytes()
    assert content == (tmp_path / f'there{suffix}').read_bytes()
    assert str(tmp_path).encode() not in content
    assert b'CreationDate' not in content
  assert b'/FontFile2' in content  # TrueType
  assert b'/Type3' not in content


def test_help_is_quick_and_bad_flags_are_refused(capsys):
  command = [sys.executable, '-X', 'importtime', str(PLOT)]
  ended = subprocess.run([*command, '--help'], capture_output=True, text=True, check=True)
  assert '--output' in ended.stdout
  assert not any(slow in ended.stderr for slow in ('pandas', 'matplotlib', 'numpy', 'tensorflow'))
  for argv, said in (
    ([], 'a figure or the folder of a run is needed'),
    (['--outpt=x', 'a'], 'outpt'),
    (['a', '--band=wide'], '--band=wide: one of std, minmax, ci95 is needed'),
  ):
    assert plot.main(argv) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_pixels_of_the_curve_are_there(make_run, tmp_path):
  """A curve has its colour in the file, as no test of Matplotlib's objects shows."""
  from matplotlib import image

  plot.main([str(make_run('a')), f'--output={tmp_path}/x'])
  pixels = image.imread(tmp_path / 'x.png')[:, :, :3]
  blue = np.array([0x00, 0x72, 0xB2]) / 255
  assert np.isclose(pixels, blue, atol=0.01).all(axis=2).sum() > 1000


def test_folders_that_are_no_runs_are_named_and_left_out(make_run, tmp_path, capsys):
  run = make_run('a')
  published = tmp_path / 'results' / 'published'
  published.mkdir()
  assert plot.main([str(run), str(published)]) == 0
  assert f'{published}: has no config.json, so it is no run; left out' in capsys.readouterr().out
  assert plot.main([str(published)]) == 2
  assert capsys.readouterr().err.startswith(f'error: {published} has no config.json; the folder of a run is needed')


def test_a_flag_stands_with_its_value_or_before_it(make_run, tmp_path):
  assert plot.main([str(make_run('a')), '--output', str(tmp_path / 'x'), '--band', 'minmax']) == 0
  assert (tmp_path / 'x.png').exists()


def test_a_grid_of_ones_own_is_drawn_with_no_further_line(make_run, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  grid = "[base]\nrounds = 4\nstragglers = 0.5\n[[curve]]\nname = 'Mine'\nalgorithm = 'fedprox'"
  (tmp_path / 'my.toml').write_text(grid)
  make_run('a', seed=0)
  for name in ('my', 'my.toml'):
    assert plot.main([name]) == 0
    assert capsys.readouterr().out == 'wrote results/my.png\nwrote results/my.pdf\n'
    assert table.main([name]) == 0
    assert ' Mine' in capsys.readouterr().out
  assert plot.main(['figure1_synthetic']) == 2
  assert 'no run of this figure is in there; `bash experiments/sweep.sh figure1_synthetic`' in capsys.readouterr().err
