# SPDX-License-Identifier: Apache-2.0
"""The figure of how a federation is split: its cells are the clients' examples, and its flags are a run's."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from analysis import partitions, plot
from analysis.draw import partition
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets import base
from fedprox_tff.datasets.statistics import statistics
from tests.federations import load

COUNTS = np.array([[4, 0, 0], [1, 30, 0], [0, 2, 5]])  # of each class at each client


def federation(counts=COUNTS):
  labels = [np.repeat(np.arange(counts.shape[1]), row).astype(np.int32) for row in counts]
  train = base.split_from_clients([base.Examples(np.zeros((len(y) - 1, 2)), y[1:]) for y in labels])
  test = base.split_from_clients([base.Examples(np.zeros((1, 2)), y[:1]) for y in labels])
  return base.FederatedDataset('made', base.client_ids(len(counts)), train, test, counts.shape[1], 'here')


def test_cells_and_bars_are_the_examples_of_clients():
  figure = partition.draw(federation(), 'Made')
  sizes, classes, scale = figure.axes
  assert [bar.get_height() for bar in sizes.patches] == [4, 31, 7]
  [image] = classes.images
  drawn = image.get_array()
  assert drawn.filled(0).T.tolist() == COUNTS.tolist()
  assert np.array_equal(drawn.mask.T, COUNTS == 0)  # without examples a cell is white
  assert (image.norm.vmin, image.norm.vmax) == (1, 30)
  assert (classes.get_xlabel(), classes.get_ylabel()) == ('Client', 'Class')
  assert sizes.get_ylabel() == scale.get_ylabel() == '# Examples'
  words = 'Made, 3 clients, 42 examples, a client holds 1 to 2 of 3 classes, 1.7 on average'
  assert figure.get_suptitle() == words


def test_of_many_clients_the_first_are_drawn():
  counts = np.full((130, 4), 2)
  counts[100:] = 50
  figure = partition.draw(federation(counts), 'Made')
  assert len(figure.axes[0].patches) == 100
  assert {bar.get_height() for bar in figure.axes[0].patches} == {8}
  words = 'Made, the first 100 of 130 clients, 800 examples, a client holds 4 of 4 classes'
  assert figure.get_suptitle() == words


@pytest.mark.parametrize(('largest', 'scale'), [(60, 'linear'), (200, 'log')])
def test_uneven_sizes_are_drawn_on_a_logarithmic_axis(largest, scale):
  figure = partition.draw(federation(np.array([[4, 0], [0, largest]])), 'Made')
  assert figure.axes[0].get_yscale() == scale


def test_all_words_fit_the_figure():
  for counts in (COUNTS, np.full((40, 100), 1), np.full((2, 2), 10_000)):
    figure = partition.draw(federation(counts), 'A set with a name, and a partition that has quite a long one')
    figure.draw_without_rendering()
    for axes in figure.axes:
      box = axes.get_tightbbox()
      assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
      assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    above, below = (axes.get_tightbbox() for axes in figure.axes[:2])
    assert above.y0 >= below.y1


def test_labels_at_each_place_are_refused():
  split = base.empty_split(np.array([2]), (4,), label_shape=(4,))
  dataset = base.FederatedDataset('text', base.client_ids(1), split, split, 3, 'here')
  with pytest.raises(UserError, match='--dataset=text: its examples have more than one label'):
    partition.draw(dataset, 'Text')


def test_flags_are_those_of_a_run(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  flags = ['--dataset=digits', '--partition=dirichlet', '--dirichlet_alpha=0.05', '--dirichlet_balanced']
  assert plot.main(['partition', *flags, '--num_clients=7']) == 0
  stem = 'results/partition-digits-num_clients=7-partition=dirichlet-dirichlet_alpha=0.05-dirichlet_balanced=True'
  assert sorted(capsys.readouterr().out.splitlines()) == [f'wrote {stem}.pdf', f'wrote {stem}.png']
  assert pathlib.Path(f'{stem}.png').read_bytes().startswith(b'\x89PNG')


def test_what_is_drawn_is_what_a_run_trains_on():
  given = {'dataset': 'digits', 'num_clients': '20', 'data_seed': '3'}
  drawn = partitions.load(given, print)
  assert drawn.title == 'Digits, power law'
  assert drawn.dataset.fingerprint == load('digits', num_clients=20, data_seed=3).fingerprint
  assert statistics(drawn.dataset).devices == 20


def test_bad_input_is_one_line(capsys, tmp_path):
  for argv, said in (
    (['x'], 'x: partition takes flags alone'),
    (['--dataset=digits', '--num_clients=7'], '--num_clients=7: --partition=power_law deals 10 classes'),
    (['--dataset=digits', '--dirichlet_alpha=1'], '--dirichlet_alpha=1: partition power_law does not use it'),
    (['--partition=dirichlet', '--dirichlet_alpha=x'], '--dirichlet_alpha=x: a number of at least 1e-06 is needed'),
    (['--mu=1'], "'mu'"),
  ):
    assert plot.main(['partition', *argv, f'--output={tmp_path}/x']) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_no_tensorflow_is_imported(tmp_path):
  command = [sys.executable, '-X', 'importtime', plot.__file__, 'partition', '--dataset=synthetic']
  ended = subprocess.run([*command, f'--output={tmp_path}/x'], capture_output=True, text=True, check=True, cwd=tmp_path)
  assert ended.stdout == 'wrote x.png\nwrote x.pdf\n'
  assert 'matplotlib' in ended.stderr
  assert 'tensorflow' not in ended.stderr


def test_help_says_where_the_flags_are(capsys):
  assert plot.main(['partition', '--help']) == 0
  assert '--dataset=NAME' in capsys.readouterr().out
  assert plot.main(['--help']) == 0
  assert 'plot.py partition' in capsys.readouterr().out
