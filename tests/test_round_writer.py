# SPDX-License-Identifier: Apache-2.0
import pytest

from fedprox_tff import loop
from fedprox_tff.config import Config
from fedprox_tff.datasets import digits
from fedprox_tff.experiment import Builder
from fedprox_tff.federated import runtimes
from fedprox_tff.progress import Progress
from fedprox_tff.results import RunFolder, open_run

DATA = digits.load(data_seed=0)


def run(tmp_path, **values):
  """Trains four rounds and returns what the folder then holds: its rounds and the newest saved one."""
  config = Config.from_flags(
    {'dataset': 'digits', 'rounds': 4, 'epochs': 1, 'results_dir': str(tmp_path), 'name': 'run', **values}
  )
  error = None
  with runtimes.use() as runtime:
    experiment = Builder().build(config, DATA)
    with open_run(config, DATA) as folder:
      try:
        with Progress(config.rounds) as progress:
          loop.train(config, experiment, runtime, folder, progress)
      except OSError as caught:
        error = caught
      rounds = [row['round_num'] for row in folder.rows()]
      return rounds, folder.load(experiment.initial_state)[1], error


def test_every_round_is_written_and_the_last_is_saved(tmp_path):
  assert run(tmp_path) == ([0, 1, 2, 3, 4], 4, None)


@pytest.mark.parametrize('broken', [1, 3, 4])
def test_what_goes_wrong_in_writing_ends_the_run_with_the_round_before_saved(tmp_path, monkeypatch, broken):
  release = RunFolder.release

  def release_unless_the_disk_is_full(self, row, round_num):
    if round_num == broken:
      raise OSError('no space left')
    release(self, row, round_num)

  monkeypatch.setattr(RunFolder, 'release', release_unless_the_disk_is_full)
  rounds, saved, error = run(tmp_path)
  assert str(error) == 'no space left'
  assert rounds == list(range(broken))
  assert saved == broken - 1
  monkeypatch.undo()
  assert run(tmp_path) == ([0, 1, 2, 3, 4], 4, None)  # and the same command goes on


def test_a_run_that_goes_on_knows_its_losses(tmp_path):
  """An adaptive mu needs them all, those of the earlier process too."""
  adaptive = {'mu': 'adaptive', 'initial_mu': 0.5}
  run(tmp_path / 'whole', **adaptive)
  run(tmp_path / 'parts', **adaptive, rounds=2)
  run(tmp_path / 'parts', **adaptive)

  def rows(name):
    lines = (tmp_path / name / 'run' / 'metrics.csv').read_text().splitlines()
    unmeasured = [i for i, column in enumerate(lines[0].split(',')) if column.startswith(('seconds/', 'memory/'))]
    return [[value for i, value in enumerate(line.split(',')) if i not in unmeasured] for line in lines]

  assert rows('parts') == rows('whole')
