# SPDX-License-Identifier: Apache-2.0
"""The command line, end to end on real digits: results, exit codes, and runs that are ended and started again."""

import asyncio
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fedprox_tff import run
from fedprox_tff.algorithms.fedprox import adaptive
from fedprox_tff.config.record import Config
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.training import checkpoint_file, metrics_file
from fedprox_tff.training.builder import Builder
from fedprox_tff.training.cohort import sample_cohort
from tests.federations import load
from tests.training.test_tensorboard import points

ROOT = pathlib.Path(__file__).parents[1]
SMALL = ['--dataset=digits', '--epochs=3', '--clients_per_round=4', '--stragglers=0.5']
COLUMNS = {
  'round_num', 'test/accuracy', 'test/loss', 'train/accuracy', 'train/loss', 'train/update_norm', 'cohort/size',
  'cohort/stragglers', 'cohort/dropped', 'cohort/epochs', 'cohort/steps',
  'cohort/gradients', 'cohort/floats', 'cohort/non_finite', 'cohort/skipped', 'mu',
  'seconds/train', 'seconds/evaluation',
  'dissimilarity/variance', 'dissimilarity/b', 'gamma/mean', 'gamma/max', 'memory/process_mb', 'memory/worker_mb',
  'test/accuracy_p10', 'personal/accuracy', 'personal/accuracy_p10', 'personal/loss',
}  # fmt: skip


def main(*flags):
  return run.main(['run', *flags])


def read_rows(folder):
  with (folder / 'metrics.csv').open(newline='') as file:
    return list(csv.DictReader(file))


def lasting(rows):
  """Returns the rows without what differs from run to run on one machine."""
  return [{k: v for k, v in row.items() if not k.startswith(('seconds/', 'memory/'))} for row in rows]


def final_weights(folder, config):
  """Returns the weights in the newest checkpoint."""
  state = checkpoint_file.read(folder, config.rounds).state
  return [array for place, array in state.items() if place.startswith('global_model_weights/trainable/')]


def start(results, *flags):
  command = [sys.executable, '-m', 'fedprox_tff.run', *SMALL, f'--results_dir={results}', '--name=run', *flags]
  with open(f'{results}.log', 'a') as log:
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait_for_round(results, round_num, process):
  deadline = time.monotonic() + 120
  while time.monotonic() < deadline and process.poll() is None:
    if metrics_file.last_round(results / 'run') >= round_num:
      return
    time.sleep(0.01)
  raise AssertionError(pathlib.Path(f'{results}.log').read_text())


@pytest.mark.parametrize('algorithm', ['fedavg', 'fedprox'])
def test_a_run_from_flags_to_results(tmp_path, capsys, algorithm):
  flags = [*SMALL, f'--algorithm={algorithm}', '--rounds=12', f'--results_dir={tmp_path}', '--name=run']
  assert main(*flags) == 0
  rows = read_rows(tmp_path / 'run')
  assert set(rows[0]) == COLUMNS
  assert [int(row['round_num']) for row in rows] == list(range(13))
  assert float(rows[-1]['test/accuracy']) > float(rows[0]['test/accuracy']) + 0.2
  assert float(rows[-1]['train/loss']) < float(rows[0]['train/loss'])
  assert {row['cohort/stragglers'] for row in rows[1:]} == {'2'}
  assert {row['cohort/dropped'] for row in rows[1:]} == {'2' if algorithm == 'fedavg' else '0'}
  assert {row['mu'] for row in rows} == {'0.0' if algorithm == 'fedavg' else '1.0'}
  assert json.loads((tmp_path / 'run' / 'config.json').read_text())['config']['algorithm']['name'] == algorithm
  assert list((tmp_path / 'run' / 'tensorboard').iterdir())
  said = capsys.readouterr().out
  assert 'this federation' in said
  assert f'test accuracy: best {max(float(r["test/accuracy"]) for r in rows):.4f}' in said
  assert f'analysis/plot.py {tmp_path / "run"}' in said
  assert '\x1b' not in said  # plain lines where there is no terminal

  before = (tmp_path / 'run' / 'metrics.csv').read_bytes()
  assert main(*flags) == 0
  assert (tmp_path / 'run' / 'metrics.csv').read_bytes() == before
  assert 'this run is done: 12 rounds' in capsys.readouterr().out


def test_two_runs_of_one_seed_have_the_same_bits_and_another_seed_has_others(tmp_path):
  flags = [*SMALL, '--rounds=3', f'--results_dir={tmp_path}']
  for name, seed in (('a', 0), ('b', 0), ('c', 1)):
    assert main(*flags, f'--name={name}', f'--seed={seed}') == 0
  a, b, c = (lasting(read_rows(tmp_path / name)) for name in 'abc')
  assert a == b
  assert a != c


@pytest.mark.parametrize('weighting', ['examples', 'uniform'])
def test_a_run_is_what_its_parts_make(tmp_path, weighting):
  """The same rounds by hand: cohorts, batch orders by (seed, round, client), weights."""
  flags = {'dataset': 'digits', 'epochs': 2, 'stragglers': 0.5, 'seed': 3, 'rounds': 3, 'weighting': weighting}
  assert main(*(f'--{k}={v}' for k, v in flags.items()), f'--results_dir={tmp_path}', '--name=run') == 0
  config, dataset = Config.from_flags(flags), load('digits', data_seed=0)
  with runtimes.use('in_process'):
    process, state = Builder().build(config, dataset)[:2]
    for round_num in (1, 2, 3):
      participants = sample_cohort(
        dataset.train.sizes,
        seed=3,
        round_num=round_num,
        clients_per_round=10,
        epochs=2,
        batch_size=10,
        stragglers=0.5,
        straggler_policy='partial',
        weighting=weighting,
      )
      payloads = [
        client_payload(
          dataset.train.client(p.client)._asdict(),
          num_epochs=2,
          batch_size=10,
          key=(3, round_num, p.client),
          num_steps=p.num_steps,
          weight=p.weight,
        )
        for p in participants
      ]
      state, _ = process.next(state, payloads)
    by_hand = process.get_model_weights(state).trainable
  for ours, theirs in zip(final_weights(tmp_path / 'run', config), by_hand, strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_a_longer_run_continues_a_shorter_one(tmp_path):
  flags = [*SMALL, f'--results_dir={tmp_path}']
  assert main(*flags, '--name=whole', '--rounds=5') == 0
  assert main(*flags, '--name=parts', '--rounds=2') == 0
  assert main(*flags, '--name=parts', '--rounds=5') == 0
  assert lasting(read_rows(tmp_path / 'parts')) == lasting(read_rows(tmp_path / 'whole'))


def test_rounds_that_are_not_evaluated_have_rows_too(tmp_path):
  assert main(*SMALL, '--rounds=5', '--rounds_per_evaluation=2', f'--results_dir={tmp_path}', '--name=run') == 0
  evaluated = [row['test/accuracy'] != 'nan' for row in read_rows(tmp_path / 'run')]
  assert evaluated == [True, False, True, False, True, True]


def test_what_is_measured_on_demand(tmp_path):
  """Full gradients every second round, inexactness in each; neither changes the training."""
  flags = [*SMALL, '--rounds=4', f'--results_dir={tmp_path}']
  assert main(*flags, '--name=plain') == 0
  assert main(*flags, '--name=measured', '--rounds_per_dissimilarity=2', '--measure_gamma') == 0
  rows = read_rows(tmp_path / 'measured')
  for column in ('dissimilarity/variance', 'dissimilarity/b'):
    assert [row[column] != 'nan' for row in rows] == [True, False, True, False, True]
  assert all(float(row['dissimilarity/b']) >= 1 for row in rows[::2])
  assert rows[0]['gamma/mean'] == 'nan'
  assert all(0 < float(row['gamma/mean']) <= float(row['gamma/max']) < 2 for row in rows[1:])
  unmeasured = read_rows(tmp_path / 'plain')
  assert [row['train/loss'] for row in rows] == [row['train/loss'] for row in unmeasured]
  assert {row['gamma/max'] for row in unmeasured} | {row['dissimilarity/b'] for row in unmeasured} == {'nan'}


@pytest.mark.parametrize('runtime', ['in_process', 'worker'])
def test_a_batch_of_all_examples_is_one_of_any_number_that_is_large_enough(tmp_path, runtime):
  flags = ['--dataset=synthetic', '--num_clients=12', '--epochs=3', '--rounds=2', '--clients_per_round=12']
  flags += [f'--runtime={runtime}', f'--results_dir={tmp_path}', '--algorithm=fedprox', '--stragglers=0.5']
  sizes = load('synthetic', num_clients=12).train.sizes
  assert sizes.max() > 1024  # batches of several widths
  assert sizes.min() < 256
  found = []
  for batch_size in ('all', sizes.max(), 10**9):
    assert main(*flags, f'--batch_size={batch_size}') == 0
    [folder] = tmp_path.glob(f'fedprox-synthetic*batch_size={batch_size}*')
    assert json.loads((folder / 'config.json').read_text())['config']['batch_size'] in ('all', sizes.max(), 10**9)
    found.append(lasting(read_rows(folder)))
  assert found[0] == found[1] == found[2]
  budgets = [row['cohort/steps'] for row in found[0][1:]]
  assert all(12 <= int(steps) <= 36 for steps in budgets)  # a step an epoch
  assert float(found[0][2]['train/loss']) < float(found[0][0]['train/loss'])


@pytest.mark.parametrize(
  'flags', [[], ['--algorithm=scaffold', '--client_states=disk'], ['--algorithm=feddane', '--measure_gamma']]
)
def test_nothing_but_the_runs_own_words_is_said(tmp_path, flags):
  """No warning of TensorFlow's or Python's, on whatever stream."""
  command = [sys.executable, '-m', 'fedprox_tff.run', *SMALL, '--rounds=3', f'--results_dir={tmp_path}', *flags]
  environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stderr) == (0, '')
  starts = ('digits: ', 'this federation ', 'its classes ', 'round ', 'test accuracy: ', 'in ', 'to plot it: ')
  assert [line for line in done.stdout.splitlines() if not line.startswith(starts)] == []


def test_the_worker_is_told_of(tmp_path, capsys):
  assert main(*SMALL, '--rounds=1', '--runtime=worker', f'--results_dir={tmp_path}', '--name=run') == 0
  assert "note: TFF's worker listens on all addresses of this machine, on port " in capsys.readouterr().out


def test_an_adaptive_mu_follows_the_loss_also_after_a_restart(tmp_path):
  flags = [*SMALL, f'--results_dir={tmp_path}', '--mu=adaptive', '--initial_mu=0.5', '--learning_rate=0.3']
  assert main(*flags, '--name=whole', '--rounds=10') == 0
  assert main(*flags, '--name=parts', '--rounds=4') == 0
  assert main(*flags, '--name=parts', '--rounds=10') == 0
  rows = read_rows(tmp_path / 'whole')
  assert lasting(rows) == lasting(read_rows(tmp_path / 'parts'))
  losses, mus = ([float(row[column]) for row in rows] for column in ('train/loss', 'mu'))
  assert mus[:2] == [0.5, 0.5]
  assert len(set(mus)) > 1
  for round_num in range(1, 10):  # mu of a round comes from the losses before it
    assert mus[round_num + 1] == pytest.approx(adaptive(initial_mu=0.5).after(losses[: round_num + 1]), abs=1e-6)


@pytest.mark.parametrize('flags', [[], ['--runtime=worker'], ['--algorithm=scaffold']])
def test_a_run_in_a_notebook_whose_event_loop_runs_already(tmp_path, flags):
  async def cell():
    return main(*SMALL, *flags, '--rounds=1', f'--results_dir={tmp_path}', '--name=run')

  assert asyncio.run(cell()) == 0
  assert len(read_rows(tmp_path / 'run')) == 2
  assert main(*SMALL, *flags, '--rounds=2', f'--results_dir={tmp_path}', '--name=run') == 0


def test_everybody_dropped_is_said(tmp_path, capsys):
  flags = ['--algorithm=fedavg', '--stragglers=1', '--rounds=2', f'--results_dir={tmp_path}', '--name=run']
  assert main(*SMALL, *flags) == 1
  rows = read_rows(tmp_path / 'run')
  assert {row['cohort/skipped'] for row in rows[1:]} == {'1'}
  assert len({row['test/loss'] for row in rows}) == 1
  said = capsys.readouterr()
  assert "the server's step was skipped, nobody contributed" in said.out
  assert said.err == (
    'error: the run stood still from round 1 to round 2, since all clients were dropped or had no examples; '
    'try --straggler_policy=partial or fewer --stragglers\n'
  )


def test_clients_that_diverge_are_counted_and_said(tmp_path, capsys):
  flags = ['--learning_rate=1e30', '--rounds=2', f'--results_dir={tmp_path}', '--name=run']
  assert main(*SMALL, *flags) == 1
  assert int(read_rows(tmp_path / 'run')[1]['cohort/non_finite']) > 0
  first = capsys.readouterr()
  assert 'left out, their updates are not finite' in first.out
  assert first.err.startswith('error: the run diverged: from round 1 to round 2 the server took no step')
  assert main(*SMALL, *flags) == 1  # the same again says the same
  assert capsys.readouterr().err == first.err


@pytest.mark.parametrize('flags', [['--server_optimizer=adam:epsilon=0'], ['--algorithm=fedadam', '--tau=0']])
def test_a_server_that_diverges_keeps_its_last_finite_weights(tmp_path, capsys, flags):
  flags = [*SMALL, *flags, '--rounds=12', f'--results_dir={tmp_path}', '--name=run']
  assert main(*flags) == 1
  rows = read_rows(tmp_path / 'run')
  assert len(rows) == 13
  assert np.isfinite([float(row['train/loss']) for row in rows]).all()
  said = capsys.readouterr()
  assert said.err.startswith('error: the run diverged: from round ')
  assert said.out.count("the server's step was skipped") == 3
  assert "the server's step skipped in " in said.out


def test_ended_twice_by_sigkill_it_ends_with_the_same_bits(tmp_path):
  flags = ['--rounds=24', '--rounds_per_checkpoint=4']
  assert main(*SMALL, *flags, f'--results_dir={tmp_path / "whole"}', '--name=run') == 0
  results = tmp_path / 'killed'
  for round_num in (3, 13):
    process = start(results, *flags)
    wait_for_round(results, round_num, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
  assert main(*SMALL, *flags, f'--results_dir={results}', '--name=run') == 0
  killed, whole = results / 'run', tmp_path / 'whole' / 'run'
  assert lasting(read_rows(killed)) == lasting(read_rows(whole))
  steps = sorted(step for step, _ in points(killed / 'tensorboard')['train/loss'])
  assert steps == list(range(25))  # in TensorBoard, too, each round is there once
  config = Config.from_flags(dict(flag.lstrip('-').split('=') for flag in [*SMALL, *flags]))
  for a, b in zip(final_weights(killed, config), final_weights(whole, config), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ('end', 'flags'),
  [(signal.SIGINT, ['--algorithm=scaffold', '--client_states=disk']), (signal.SIGTERM, []), (signal.SIGHUP, [])],
)
def test_interrupted_it_says_how_to_go_on(tmp_path, end, flags):
  results = tmp_path / 'results'
  process = start(results, '--rounds=2000', '--rounds_per_checkpoint=1000', *flags)
  wait_for_round(results, 5, process)
  process.send_signal(end)
  assert process.wait(60) == 130
  log = pathlib.Path(f'{results}.log').read_text()
  assert 'stopping after this round' in log
  assert f'interrupted; to go on: {sys.executable} -m fedprox_tff.run --dataset=digits' in log
  assert 'Traceback' not in log
  done = len(read_rows(results / 'run')) - 1
  saved = checkpoint_file.saved_rounds(results / 'run')
  assert saved[0] == done  # the last whole round was saved, not the checkpoint before


def test_interrupted_between_checkpoints_of_every_round(tmp_path):
  """A signal in the middle of a save must not tear it."""
  results = tmp_path / 'results'
  for _ in range(3):
    begun = metrics_file.last_round(results / 'run')
    process = start(results, '--rounds=2000', '--rounds_per_checkpoint=1')
    wait_for_round(results, begun + 3, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
  log = pathlib.Path(f'{results}.log').read_text()
  assert 'error' not in log
  assert log.count('going on after round') == 2
  assert not list((results / 'run' / 'checkpoints').glob('.*'))


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--rounds=-3'], '--rounds=-3: a whole number of at least 0 is needed.'),
    (['--round=3'], "Unknown command line flag 'round'. Did you mean: rounds"),
    (['results'], 'results: flags only'),
    (['--algorithm=fedavg', '--mu=1'], '--mu=1: algorithm fedavg does not use it'),
    (['--dataset=digits', '--num_clients=33'], '--num_clients'),
    (['--dataset=synthetic', '--model=cnn'], '--model=cnn'),
    (['--dataset=digits', '--client_optimizer=adam:beta_1=2'], '--client_optimizer=adam:beta_1=2: '),
    (['--dataset=digits', '--server_optimizer=adam:beta_1=nan'], '--server_optimizer=adam:beta_1=nan: '),
    (['mu=1'], 'mu=1: flags only, such as --mu=...;'),
    (['--dataset=digits', '--results_dir=/proc/none'], '--results_dir=/proc/none'),
    (['--data_dir=/no/such/folder'], '--data_dir=/no/such/folder is not a folder'),
    (['--data_dir=/no/such/folder', '--fallback_dataset=digits'], '--data_dir=/no/such/folder is not a folder'),
    (['--dataset=leaf', '--data_dir=/none', '--fallback_dataset=digits'], '--data_dir=/none is not a folder'),
    (['--dataset=digits', f'--name={"ü" * 128}'], 'a name of at most 255 bytes'),
  ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, flags, message):
  assert main(*(f'--results_dir={tmp_path}', *flags)) == 2
  captured = capsys.readouterr()
  assert message in captured.err
  assert captured.err.startswith('error: ')
  assert captured.err.count('\n') == 1
  assert not list(tmp_path.rglob('metrics.csv'))


def test_help_names_the_flags(capsys):
  assert main('--help', '--no_such_flag') == 0
  assert '--rounds_per_evaluation' in capsys.readouterr().out


def test_without_the_data_only_the_flag_swaps_them(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('FEDPROX_DATA_DIR', str(tmp_path))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  for proxy in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(proxy, 'http://127.0.0.1:9')  # nobody answers: no network
  flags = ['--rounds=1', '--clients_per_round=2', '--epochs=1', f'--results_dir={tmp_path}']
  assert main(*flags) == 2
  assert '--dataset=digits' in capsys.readouterr().err
  assert main(*flags, '--fallback_dataset=digits', '--name=run') == 0
  said = capsys.readouterr().out
  assert said.count('*** ') == 2  # at the start and at the end
  assert json.loads((tmp_path / 'run' / 'config.json').read_text())['config']['dataset']['name'] == 'digits'


@pytest.mark.skipif('FEDPROX_DATA_DIR' not in os.environ, reason='$FEDPROX_DATA_DIR names no folder with MNIST')
def test_a_run_on_real_mnist(tmp_path):
  assert main('--rounds=5', '--rounds_per_evaluation=5', f'--results_dir={tmp_path}', '--name=run') == 0
  rows = read_rows(tmp_path / 'run')
  assert float(rows[-1]['test/accuracy']) > 0.5
  assert float(rows[-1]['train/loss']) < float(rows[0]['train/loss']) / 2
