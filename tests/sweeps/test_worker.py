# SPDX-License-Identifier: Apache-2.0
"""A process of a sweep leaves a cell to whoever has its lock, and a cell that cannot be run fails in one line."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.machine.console import DONE, FAILED
from fedprox_tff.sweeps import status, worker
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.training import run_folder
from tests.machine.test_locks import HOLDER


@pytest.fixture
def config(tmp_path):
  return Config.from_flags({'dataset': 'digits', 'rounds': 2, 'epochs': 1, 'results_dir': str(tmp_path / 'results')})


@pytest.fixture
def claims(config):
  return Claims(status.claims_folder(config), heartbeat=0.02)


@pytest.fixture
def stop():
  return worker.Stop()


@pytest.fixture(scope='module')
def session():
  from fedprox_tff.training.session import Session

  with Session() as session:
    yield session


@pytest.fixture
def holder(config):
  """A process that has the lock of the cell, and no claim of it."""
  folder = run_folder.folder(config)
  folder.mkdir(parents=True)
  command = [sys.executable, '-c', HOLDER, folder / '.lock']
  process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
  assert process.stdout.readline() == b'held\n'
  yield process
  process.kill()
  process.wait()


def log(config):
  return run_folder.log_path(config).read_text()


def test_no_claim_is_taken_while_the_lock_is_held(config, claims, holder):
  assert worker._take([config], claims, None, set()) is None
  assert list(claims.folder.iterdir()) == []
  (seen,) = status.look([config], claims, {}, set())
  assert seen.state == 'running'  # so that no process is started for it
  holder.kill()
  holder.wait()
  (seen,) = status.look([config], claims, {}, set())
  assert seen.state == 'to do'
  assert worker._take([config], claims, None, set())[0] == config


def test_whoever_has_claimed_a_cell_and_then_meets_its_lock_gives_it_back(config, claims, holder, stop, session):
  """The owner woke between the look at its lock and the claim: it goes on, and is not counted as dead."""
  owner = claims.acquire(config.name)
  elsewhere = Claims(claims.folder, stale=0.0)
  record = claims.records()[config.name]
  path = claims.path(config.name, 0)
  path.write_text(path.read_text().replace(record.node, 'another machine'))
  assert not elsewhere.is_held(elsewhere.records()[config.name])
  claim = elsewhere.acquire(config.name)
  assert worker._run(config, claim, session, stop) == DONE
  assert claims.records()[config.name].state == 'released'
  assert log(config).endswith('left to the process that has its lock\n')
  assert 'Traceback' not in log(config)

  holder.kill()
  holder.wait()
  assert worker._run(config, owner, session, stop) == DONE  # it learns that it was taken for dead, and leaves it whole
  recent, claim = worker._take([config], claims, config, set())
  assert claims.records()[config.name].attempt == 1
  assert worker._run(recent, claim, session, stop) == DONE
  assert run_folder.is_done(config)
  assert list(claims.folder.iterdir()) == []


@pytest.mark.parametrize('name', ['metrics.csv', 'tensorboard', '.lock', 'checkpoints'])
def test_an_error_of_the_disk_fails_the_cell_in_one_line(config, claims, stop, session, name):
  folder = run_folder.folder(config)
  folder.mkdir(parents=True)
  (folder / name).symlink_to(name)  # a loop
  assert worker._run(config, claims.acquire(config.name), session, stop) == FAILED
  record = claims.records()[config.name]
  assert record.state == 'failed'
  assert str(folder) in record.reason
  assert log(config).splitlines()[-1] == f'error: {record.reason}'
  assert 'Traceback' not in log(config)


def test_a_cell_whose_log_cannot_be_written_fails_in_one_line(config, claims, stop, session):
  run_folder.results_folder(config).mkdir(parents=True, exist_ok=True)
  run_folder.folder(config).write_text('a file')
  assert worker._run(config, claims.acquire(config.name), session, stop) == FAILED
  assert claims.records()[config.name].reason == f'{run_folder.folder(config)}: File exists'


def test_a_process_stays_with_its_group_then_with_its_data_and_then_goes_where_nobody_works(config, claims):
  def cell(data_seed, algorithm, seed):
    values = {'dataset': 'digits', 'data_seed': data_seed, 'algorithm': algorithm, 'seed': seed}
    return Config.from_flags(values | {'results_dir': config.results_dir})

  cells = status.arrange(
    cell(data_seed, algorithm, seed) for seed in (0, 1) for data_seed in (0, 1) for algorithm in ('fedavg', 'scaffold')
  )
  claims.acquire(cell(0, 'fedavg', 0).name)  # another process's
  first, _ = worker._take(cells, claims, None, set())
  taken = [first]
  while found := worker._take(cells, claims, taken[-1], set()):
    taken.append(found[0])
  assert taken == [
    *(cell(0, 'scaffold', seed) for seed in (0, 1)),  # nobody works on it
    cell(0, 'fedavg', 1),  # somebody does, but the data are here
    *(cell(1, 'fedavg', seed) for seed in (0, 1)),
    *(cell(1, 'scaffold', seed) for seed in (0, 1)),
  ]


def test_processes_take_each_cell_once(config, claims, tmp_path):
  cells = [Config.from_flags({'dataset': 'digits', 'results_dir': config.results_dir, 'seed': n}) for n in range(20)]

  def take_all():
    taken = []
    while found := worker._take(cells, claims, None, set()):
      taken.append(found[0].name)
    return taken

  with ThreadPoolExecutor(4) as pool:
    taken = [name for names in pool.map(lambda _: take_all(), range(4)) for name in names]
  assert sorted(taken) == sorted(cell.name for cell in cells)


@pytest.mark.parametrize(('ignored', 'heard'), [([signal.SIGHUP], False), ([], True)])
def test_what_is_ignored_stays_ignored(ignored, heard):
  code = (
    'import os, signal\n'
    + ''.join(f'signal.signal({int(number)}, signal.SIG_IGN)\n' for number in ignored)
    + 'from fedprox_tff.sweeps.worker_process import stop_by_signals\nstop = stop_by_signals()\n'
    'os.kill(os.getpid(), signal.SIGHUP)\nprint(stop.is_requested)\n'
    'os.kill(os.getpid(), signal.SIGTERM)\nprint(stop.is_requested)'
  )
  result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert result.stdout == f'{heard}\nTrue\n'


def test_a_process_whose_sweep_has_ended_ends_without_a_word(tmp_path):
  command = [sys.executable, '-m', 'fedprox_tff.sweeps.worker_process', str(tmp_path / 'gone' / 'session.json')]
  result = subprocess.run(command, capture_output=True, text=True, check=False)
  assert (result.returncode, result.stdout, result.stderr) == (130, '', '')
