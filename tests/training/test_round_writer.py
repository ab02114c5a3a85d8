# SPDX-License-Identifier: Apache-2.0
import collections
import shutil

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.config.record import Config
from fedprox_tff.config.settings import CLIENT_STATES
from fedprox_tff.federated import runtimes
from fedprox_tff.training import loop, metrics_file, round_writer
from fedprox_tff.training.builder import Builder
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.client_states import ClientStates
from fedprox_tff.training.cohort import sample_cohort
from fedprox_tff.training.measurement import Measurement
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.round_writer import RoundWriter
from fedprox_tff.training.run_folder import open_run
from tests.federations import load

DATA = load('digits', data_seed=0)


def run(tmp_path, after_round=lambda: None, **values):
  """Trains four rounds; returns what went wrong, the rounds in the folder and the newest saved one."""
  config = Config.from_flags(
    {'dataset': 'digits', 'rounds': 4, 'epochs': 1, 'results_dir': str(tmp_path), 'name': 'run', **values}
  )
  error = None
  with runtimes.use() as runtime:
    experiment = Builder().build(config, DATA)
    with open_run(config, DATA) as folder:
      try:
        with Progress(config.rounds, after_round=after_round) as progress:
          loop.train(config, experiment, runtime, folder, progress)
      except OSError as caught:
        error = caught
      if (tmp_path / 'kept').exists():
        replace(tmp_path / 'kept', folder.path / 'metrics.csv')
      rounds = [row['round_num'] for row in metrics_file.read(folder.path).rows]
      return error, rounds, Checkpoints(folder).load(experiment.initial_state)[1]


def replace(path, folder):
  """Puts a file in the place of an empty folder."""
  folder.rmdir()
  path.rename(folder)


def test_every_round_is_written_and_the_last_is_saved(tmp_path):
  assert run(tmp_path) == (None, [0, 1, 2, 3, 4], 4)


@pytest.mark.parametrize('broken', [1, 3, 4])
def test_what_goes_wrong_in_writing_ends_the_run_with_the_round_before_saved(tmp_path, broken):
  """A folder takes the place of metrics.csv, so that the next row cannot be written."""
  metrics = tmp_path / 'run' / 'metrics.csv'

  def after_round():
    if metrics.read_text().count('\n') == broken + 1:  # with the header and round 0
      metrics.rename(tmp_path / 'kept')
      metrics.mkdir()

  error, rounds, saved = run(tmp_path, after_round)
  assert isinstance(error, IsADirectoryError)
  assert error.filename == str(metrics)
  assert rounds == list(range(broken))
  assert saved == broken - 1
  assert run(tmp_path) == (None, [0, 1, 2, 3, 4], 4)  # and the same command goes on


def test_a_run_that_goes_on_knows_its_losses(tmp_path):
  """An adaptive mu needs them all, those of the earlier process too."""
  adaptive = {'mu': 'adaptive', 'initial_mu': 0.5}
  run(tmp_path / 'whole', **adaptive)
  run(tmp_path / 'parts', **adaptive, rounds=2)
  run(tmp_path / 'parts', **adaptive)

  assert rows(tmp_path / 'parts') == rows(tmp_path / 'whole')


@pytest.mark.parametrize('slow_seconds', [0.0, 1e9])
@pytest.mark.parametrize('values', [{}, {'rounds_per_evaluation': 3, 'rounds_per_dissimilarity': 2}])
def test_rows_do_not_depend_on_how_fast_rounds_follow_each_other(tmp_path, monkeypatch, slow_seconds, values):
  """A slow round is evaluated by itself, and fast ones together."""
  lines = []
  evaluate = Measurement.evaluate
  monkeypatch.setattr(Measurement, 'evaluate', lambda self, models: lines.append(len(models)) or evaluate(self, models))
  run(tmp_path / 'as_it_comes', rounds=30, **values)
  monkeypatch.setattr(round_writer, '_SLOW_SECONDS', slow_seconds)
  lines.clear()
  run(tmp_path / 'patched', rounds=30, **values)

  assert rows(tmp_path / 'patched') == rows(tmp_path / 'as_it_comes')
  num_due = len([r for r in range(31) if r % values.get('rounds_per_evaluation', 1) == 0])
  assert sum(lines) == num_due
  assert max(lines) == (1 if not slow_seconds else 8)


def test_rounds_are_evaluated_one_by_one_where_the_next_waits_for_each_loss():
  with runtimes.use('in_process'):
    for values, at_once in (({'mu': 'adaptive'}, 1), ({'mu': 1.0}, 8), ({'model': 'mlp_bn'}, 1)):
      config = Config.from_flags({'dataset': 'digits', **values})
      assert Measurement(config, Builder().build(config, DATA)).at_once == at_once


def test_rounds_that_are_not_evaluated_do_not_wait_for_ever(tmp_path, monkeypatch):
  seen = []
  write = RoundWriter._write
  monkeypatch.setattr(RoundWriter, '_write', lambda self, line: seen.append(len(line)) or write(self, line))
  monkeypatch.setattr(round_writer, '_SLOW_SECONDS', 1e9)
  monkeypatch.setattr(round_writer, '_MOST_ROUNDS', 5)
  assert run(tmp_path, rounds=12, rounds_per_evaluation=100) == (None, list(range(13)), 12)
  assert seen == [1, 5, 5, 2]


def rows(results):
  """Returns what is in metrics.csv but for times and memory."""
  lines = (results / 'run' / 'metrics.csv').read_text().splitlines()
  unmeasured = [i for i, column in enumerate(lines[0].split(',')) if column.startswith(('seconds/', 'memory/'))]
  return [[value for i, value in enumerate(line.split(',')) if i not in unmeasured] for line in lines]


class StatefulRuns:
  """Runs of one method whose clients keep something, in one runtime, with what is compiled shared."""

  def __init__(self, runtime, **values):
    self._runtime, self._builder = runtime, Builder()
    self._values = {'dataset': 'digits', 'epochs': 2, 'rounds': 9, 'rounds_per_checkpoint': 2, 'name': 'run', **values}

  def config(self, results, **values):
    return Config.from_flags(self._values | {'results_dir': str(results)} | values)

  def train(self, results, after_round=lambda: None, **values):
    config = self.config(results, **values)
    experiment = self._builder.build(config, DATA)
    with open_run(config, DATA) as folder, Progress(config.rounds, after_round=after_round) as progress:
      loop.train(config, experiment, self._runtime, folder, progress)

  def outcome(self, results):
    """Returns what must be the same however a run came about: rows, the newest state, clients' states; as bits."""
    config = self.config(results)
    experiment = self._builder.build(config, DATA)
    with open_run(config, DATA) as folder:
      states = ClientStates(experiment.initial_client_state, folder.path / 'client_states')
      state, round_num = Checkpoints(folder).load(experiment.initial_state, states)
      assert round_num == 9
      return rows(results), bits(state), {client: bits(kept) for client, kept in states.snapshot().items()}


def bits(value):
  return [(np.shape(leaf), np.asarray(leaf).tobytes()) for leaf in tf.nest.flatten(value)]


METHODS = {
  'scaffold': {'stragglers': 0.4, 'straggler_policy': 'drop'},  # who is dropped keeps what it had
  'ditto': {'sampling': 'proportional'},  # as its authors do; a client may have two places in a cohort
}


@pytest.fixture(scope='module', params=METHODS)
def stateful(request, tmp_path_factory):
  """Returns runs of a method, and one of them that nobody has disturbed."""
  with runtimes.use() as runtime:
    runs = StatefulRuns(runtime, algorithm=request.param, **METHODS[request.param])
    whole = tmp_path_factory.mktemp(request.param)
    runs.train(whole)
    yield runs, runs.outcome(whole)


def test_what_clients_keep_is_saved_with_the_round(stateful):
  """Those who have worked, and nobody else, have a state of their own."""
  runs, (_, _, kept) = stateful
  config = runs.config('nowhere')
  names = ('seed', 'clients_per_round', 'epochs', 'batch_size', 'stragglers', 'straggler_policy', 'sampling')
  settings = {name: getattr(config, name) for name in names}
  cohorts = [sample_cohort(DATA.train.sizes, round_num=r, **settings) for r in range(1, 10)]
  assert kept.keys() == {p.client for cohort in cohorts for p in cohort if not p.dropped}
  assert len(set(map(str, kept.values()))) == len(kept)
  if config.sampling == 'proportional':
    assert max(collections.Counter(p.client for p in cohort).most_common(1)[0][1] for cohort in cohorts) > 1
  else:
    assert any(p.dropped for cohort in cohorts for p in cohort)


@pytest.mark.parametrize('place', CLIENT_STATES)
def test_in_memory_and_on_disk_a_run_has_the_same_bits(stateful, tmp_path, place):
  runs, whole = stateful
  runs.train(tmp_path, client_states=place)
  assert runs.outcome(tmp_path) == whole


@pytest.mark.parametrize(('place', 'then'), [('memory', 'memory'), ('disk', 'disk'), ('memory', 'disk')])
def test_a_run_of_stateful_clients_that_is_interrupted_goes_on_with_the_same_bits(stateful, tmp_path, place, then):
  """Three times: after a round that is no checkpoint, after one that is, and by a smaller number of rounds."""
  runs, whole = stateful

  for last in (3, 6):

    def interrupt(last=last):
      if sum(1 for _ in (tmp_path / 'run' / 'metrics.csv').open()) == last + 2:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
      runs.train(tmp_path, interrupt, client_states=place)
  runs.train(tmp_path, client_states=place, rounds=7)
  runs.train(tmp_path, client_states=then)
  assert runs.outcome(tmp_path) == whole


@pytest.mark.parametrize('place', CLIENT_STATES)
def test_a_run_of_stateful_clients_that_is_killed_goes_on_with_the_same_bits(stateful, tmp_path, place):
  """What a kill would leave: copies of the folder, made while rounds train on, some of them without the newest files.

  A checkpoint comes after the states of its round's clients, and after its row.
  """
  runs, whole = stateful
  lost = {
    4: 'round_4.ckpt',
    6: 'round_6.ckpt',
    7: None,  # a round without a checkpoint
  }

  def copy():
    round_num = (tmp_path / 'run' / 'metrics.csv').read_text().count('\n') - 2
    if round_num in lost:
      to = tmp_path / f'killed-{round_num}' / 'run'
      shutil.copytree(tmp_path / 'run', to, ignore=shutil.ignore_patterns('*.tmp'))
      if lost[round_num]:
        (to / 'checkpoints' / lost[round_num]).unlink()

  runs.train(tmp_path, copy, client_states=place)
  assert runs.outcome(tmp_path) == whole
  for round_num, then in zip(lost, (place, *CLIENT_STATES), strict=True):
    killed = tmp_path / f'killed-{round_num}'
    assert len(rows(killed)) == round_num + 2 < len(whole[0])
    runs.train(killed, client_states=then)
    assert runs.outcome(killed) == whole


def test_a_round_whose_clients_states_cannot_be_written_ends_the_run_with_an_earlier_one_saved(
  stateful, tmp_path, monkeypatch
):
  """On disk they are written as the round ends, not with its row. Folders stand in the places of round 5's files."""
  runs, whole = stateful
  in_the_way = [tmp_path / 'run' / 'client_states' / f'{client}-5.state' for client in range(DATA.num_clients)]
  draw_cohort = loop.draw_cohort

  def put_in_the_way(config, experiment, round_num):
    if round_num == 5:
      for path in in_the_way:
        path.mkdir()
    return draw_cohort(config, experiment, round_num)

  with monkeypatch.context() as patched, pytest.raises(IsADirectoryError, match=r'-5\.state'):
    patched.setattr(loop, 'draw_cohort', put_in_the_way)
    runs.train(tmp_path, client_states='disk')
  for path in in_the_way:
    path.rmdir()
  assert sorted(path.name for path in (tmp_path / 'run' / 'checkpoints').iterdir()) == ['round_2.ckpt', 'round_4.ckpt']
  runs.train(tmp_path, client_states='disk')
  assert runs.outcome(tmp_path) == whole
