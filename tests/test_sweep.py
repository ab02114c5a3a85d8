# SPDX-License-Identifier: Apache-2.0
"""Sweeps, end to end on real digits: killed, doubled, failing, and always with the bits of single runs."""

import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from fedprox_tff import run, sweep
from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.machine.processes import node, start_of
from fedprox_tff.sweeps import grids, status
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.sweeps.plan import Plan
from fedprox_tff.training import run_folder
from tests.test_run import lasting, read_rows

ROOT = pathlib.Path(__file__).parents[1]
GRID = """
title = 'digits'
[base]
dataset = 'digits'
rounds = 24
epochs = 2
clients_per_round = 4
stragglers = 0.5
rounds_per_checkpoint = 6
[grid]
seed = [0, 1]
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
[[curve]]
name = 'FedProx, mu = 0'
mu = 0.0
[[curve]]
name = 'FedProx, mu = 1'
mu = 1.0
"""

SEARCHED = """
[base]
dataset = 'digits'
rounds = 12
epochs = 2
clients_per_round = 4
[grid]
stragglers = [0.0, 0.5]
seed = [0, 1]
[search]
seeds = [100, 101]
rounds = 5
most = 3
within = 1.0
learning_rate = { start = 0.1, factor = 10, low = 0.01, high = 1.0 }
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
"""


@pytest.fixture(scope='module')
def grid(tmp_path_factory):
  path = tmp_path_factory.mktemp('grid') / 'digits.toml'
  path.write_text(GRID)
  return path


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, grid):
  """The results of one process that nobody disturbed."""
  results = tmp_path_factory.mktemp('undisturbed')
  process = start(grid, results, '--jobs=1')
  assert process.wait(120) == 0, said(results)
  return results


def configs_of(grid, results, **overrides):
  return grids.merge(cell.config for cell in grids.read(grid, {'results_dir': str(results), **overrides}).cells)


def start(grid, results, *flags, log=''):
  """Starts a sweep; what it says goes to a file, since its processes may outlive it."""
  command = [sys.executable, '-m', 'fedprox_tff.sweep', str(grid), f'--results_dir={results}', *flags]
  with open(f'{results}{log}.out', 'a') as out:
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def said(results, log=''):
  return pathlib.Path(f'{results}{log}.out').read_text()


def wait_for(condition, process, seconds=60):
  deadline = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, 'the sweep ended too early'
    assert time.monotonic() < deadline
    time.sleep(0.02)


def total_rounds(configs):
  return sum(run_folder.rounds_done(config) for config in configs)


def workers(results, attempts=range(1, 3)):
  """Returns the processes that have claimed a cell and live, and whose attempt it is one of these."""
  claims = Claims(results / '.claims', since=0.0)
  held = [record for record in claims.records().values() if claims.is_held(record)]
  return [record.pid for record in held if record.node == node() and record.attempt in attempts]


def kill(*pids):
  for pid in pids:
    assert pid > 0  # others are groups of processes, such as that of these tests
    os.kill(pid, signal.SIGKILL)


def metrics(configs):
  return {config.name: lasting(read_rows(run_folder.folder(config))) for config in configs}


def starts(config):
  """Returns how many times a process began with a cell."""
  return run_folder.log_path(config).read_text().count(': process ')


def test_a_sweep_runs_each_cell_and_says_so(undisturbed, grid):
  configs = configs_of(grid, undisturbed)
  assert len(configs) == 6
  assert all(run_folder.is_done(config) for config in configs)
  assert {starts(config) for config in configs} == {1}
  out = said(undisturbed)
  assert out.startswith('digits: digits\n')
  assert '6 of 6 cells to do, 1 process\n' in out
  assert out.endswith(f'6 of 6 cells done; 144 of 144 rounds; in {undisturbed}\n')
  assert [line.split()[:2] for line in out.splitlines()[-7:-1]] == [['done', '24/24']] * 6
  assert '\x1b' not in out
  assert 'round 24/24  test accuracy' in run_folder.log_path(configs[0]).read_text()
  assert os.listdir(undisturbed / '.claims') == []
  assert not (undisturbed / '.sweeps').exists()


def test_cells_have_the_bits_of_single_runs(undisturbed, grid, tmp_path):
  for config in (configs_of(grid, undisturbed)[1], configs_of(grid, undisturbed)[4]):
    values = {key: value for key, value in config.flat().items() if value not in ('', False)}
    values |= {'results_dir': tmp_path, 'name': config.name}
    assert run.main(['run', *(f'--{key}={value}' for key, value in values.items())]) == 0
    assert lasting(read_rows(tmp_path / config.name)) == metrics([config])[config.name]


def test_config_json_names_the_command_of_the_sweep(undisturbed, grid):
  text = (run_folder.folder(configs_of(grid, undisturbed)[0]) / 'config.json').read_text()
  assert f'-m fedprox_tff.sweep {grid}' in text


def test_what_is_done_is_skipped_without_tensorflow(undisturbed, grid, capsys):
  before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob('*.csv')}
  assert sweep.main(['sweep', str(grid), f'--results_dir={undisturbed}']) == 0
  assert '6 of 6 cells done' in capsys.readouterr().out
  assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob('*.csv')} == before
  code = (
    'import sys; from fedprox_tff import sweep; '
    f'sweep.main(["sweep", "{grid}", "--results_dir={undisturbed}"]); sys.exit("tensorflow" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_interrupted_and_killed_again_and_again_it_ends_with_the_same_bits(undisturbed, grid, tmp_path):
  results = tmp_path / 'killed'
  configs = configs_of(grid, results)

  process = start(grid, results, '--jobs=1')
  wait_for(lambda: total_rounds(configs) > 3, process)
  process.send_signal(signal.SIGINT)
  assert process.wait(30) == 130
  assert f'interrupted; to go on: {sys.executable} -m fedprox_tff.sweep {grid}' in said(results)
  assert 'Traceback' not in said(results)
  assert workers(results) == []
  begun = total_rounds(configs)
  assert begun > 3

  process = start(grid, results, '--jobs=2')  # the sweep alone is killed: its processes save and end by themselves
  wait_for(lambda: total_rounds(configs) > begun + 5, process)
  orphans = workers(results)
  assert orphans
  kill(process.pid)
  process.wait()
  deadline = time.monotonic() + 15
  while workers(results) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert workers(results) == []
  begun = total_rounds(configs)

  process = start(grid, results, '--jobs=1')  # all at once, as in a power cut
  wait_for(lambda: total_rounds(configs) > begun + 5 and workers(results), process)
  kill(process.pid, *workers(results))
  process.wait()
  assert not all(run_folder.is_done(config) for config in configs)
  begun = total_rounds(configs)

  process = start(grid, results, '--jobs=2')  # one of its processes alone: the cell is tried once more
  wait_for(lambda: total_rounds(configs) > begun + 4 and workers(results), process)
  kill(workers(results)[0])
  assert process.wait(120) == 0, said(results)
  assert metrics(configs) == metrics(configs_of(grid, undisturbed))


def test_killed_between_the_search_and_its_cells_it_chooses_the_same(tmp_path):
  grid = tmp_path / 'searched.toml'
  grid.write_text(SEARCHED)
  plans = {name: Plan([grids.read(grid, {'results_dir': str(tmp_path / name)})]) for name in ('killed', 'whole')}

  process = start(grid, tmp_path / 'killed', '--jobs=2')
  chosen = tmp_path / 'killed' / 'searched-choices.csv'
  wait_for(lambda: chosen.exists() and workers(tmp_path / 'killed'), process)
  kill(process.pid, *workers(tmp_path / 'killed'))
  process.wait()
  at_kill = chosen.read_text()
  assert start(grid, tmp_path / 'killed', '--jobs=1').wait(120) == 0, said(tmp_path / 'killed')
  assert start(grid, tmp_path / 'whole', '--jobs=1').wait(120) == 0, said(tmp_path / 'whole')

  assert set(at_kill.splitlines()) <= set(chosen.read_text().splitlines())
  assert chosen.read_text() == (tmp_path / 'whole' / 'searched-choices.csv').read_text()
  for plan in plans.values():
    claims = Claims(status.claims_folder(plan.configs[0]), since=0.0)
    assert {status.state for status in plan.look(claims, claims.records())} == {'done'}
  assert len(plans['whole'].configs) == 2 * (3 + 1 + 2)  # a star, the best with the other seed, and the cells
  assert metrics(plans['killed'].configs) == metrics(plans['whole'].configs)
  lines = said(tmp_path / 'whole').splitlines()
  assert '10 of 10 cells to do, 1 process' in lines  # as far as they were known
  assert sum(line.startswith('chosen   FedAvg, stragglers=') for line in lines) == 2
  assert lines[-1].startswith('12 of 12 cells done; 88 of 88 rounds')


def test_two_sweeps_at_once_share_the_cells_and_cells_that_fail_stop_no_other(undisturbed, grid, tmp_path):
  results = tmp_path / 'shared'
  configs = configs_of(grid, results)
  bad_config, bad_folder = configs[0], configs[-1]
  for config in (bad_config, bad_folder):
    run_folder.folder(config).mkdir(parents=True)
  (run_folder.folder(bad_config) / 'config.json').write_text('not JSON')
  (run_folder.folder(bad_folder) / 'tensorboard').write_text('a file where a folder should be')
  both = [start(grid, results, '--jobs=1', log=log) for log in 'ab']
  assert [process.wait(120) for process in both] == [1, 1]
  good = configs[1:-1]
  assert metrics(good) == metrics(configs_of(grid, undisturbed)[1:-1])
  assert {starts(config) for config in good} == {1}
  for log in 'ab':
    lines = said(results, log).splitlines()
    assert lines[-1] == f'4 of 6 cells done, 2 failed; 96 of 144 rounds; in {results}'
    reasons = {lines[i].split()[-1]: lines[i + 1] for i, line in enumerate(lines) if line.startswith('failed ')}
    assert "config.json is not a run's config" in reasons[bad_config.name]
    assert 'tensorboard: Not a directory' in reasons[bad_folder.name]
    for config in (bad_config, bad_folder):
      assert f'({run_folder.log_path(config)})' in reasons[config.name]
  assert 'Traceback' not in run_folder.log_path(bad_config).read_text()
  assert 'Traceback' not in run_folder.log_path(bad_folder).read_text()


def test_two_sweeps_at_once_survive_kills_at_random_moments(undisturbed, grid, tmp_path):
  """Processes of either sweep, and one of the sweeps itself: the other one ends with all cells and the same bits."""
  results, chance = tmp_path / 'results', random.Random(11)
  configs = configs_of(grid, results)
  first, second = (start(grid, results, '--jobs=1', log=log) for log in 'ab')

  def victims():  # a cell whose process is killed twice would fail in this sweep, and that is another test
    return workers(results, attempts=[1])

  for total in sorted(chance.sample(range(5, 100), 3)):
    wait_for(lambda total=total: total_rounds(configs) >= total and victims(), second, seconds=120)
    kill(chance.choice(victims()))
  wait_for(lambda: total_rounds(configs) >= 110, second, seconds=120)
  kill(first.pid)
  first.wait()
  assert second.wait(180) == 0, said(results, 'b')
  assert metrics(configs) == metrics(configs_of(grid, undisturbed))
  assert 'Traceback' not in said(results, 'a') + said(results, 'b')


@pytest.mark.parametrize(('seconds', 'code'), [(2, 0), (None, 1)])
def test_an_error_that_passes_is_waited_for_and_one_that_stays_is_one_line(grid, tmp_path, seconds, code):
  """The sweep's process may open no file for a while: each look at the claims is an error of the system."""
  results = tmp_path / 'results'
  configs = configs_of(grid, results)
  process = start(grid, results, '--jobs=1')
  wait_for(lambda: total_rounds(configs) >= 2, process)
  owners = workers(results)
  before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
  resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
  if seconds:
    time.sleep(seconds)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
  assert process.wait(120) == code, said(results)
  lines = said(results).splitlines()
  if code:
    assert [line for line in lines if line.startswith('error: ')] == [lines[-1]]
    assert 'Too many open files' in lines[-1]
    assert workers(results) == []
    assert not any(start_of(pid) for pid in owners)
  else:
    assert '6 of 6 cells done' in lines[-1]
  assert 'Traceback' not in said(results)


def test_a_cell_whose_owner_was_taken_for_dead_is_left_to_the_one_that_has_its_lock(undisturbed, grid, tmp_path):
  """As on two machines: its owner slept for so long that its claim looks old, and it still holds the run's lock."""
  results = tmp_path / 'results'
  configs = configs_of(grid, results)
  first = start(grid, results, '--jobs=1', log='a')
  wait_for(lambda: 2 <= total_rounds(configs) < 20, first)
  (owner,) = workers(results)
  os.kill(owner, signal.SIGSTOP)
  (claim,) = [path for path in (results / '.claims').iterdir() if json.loads(path.read_text())['pid'] == owner]
  as_seen_from_elsewhere = claim.read_text().replace(node(), 'another machine')
  claim.write_text(as_seen_from_elsewhere)
  os.utime(claim, (1, 1))
  second = start(grid, results, '--jobs=1', log='b')
  wait_for(lambda: sum(run_folder.is_done(config) for config in configs) == 5, second, seconds=120)
  time.sleep(3)
  assert second.poll() is None  # it waits
  assert '1 running' in said(results, 'b').splitlines()[-1]
  os.kill(owner, signal.SIGCONT)
  assert [process.wait(120) for process in (first, second)] == [0, 0]
  assert metrics(configs) == metrics(configs_of(grid, undisturbed))
  assert 'failed' not in said(results, 'a') + said(results, 'b')


def test_odd_claims_stop_no_sweep(undisturbed, grid, tmp_path):
  results = tmp_path / 'results'
  configs = configs_of(grid, results)
  (results / '.claims').mkdir(parents=True)
  for config, content in zip(configs, (b'', b'[]', bytes(9), b'{"state": 3}', b'\xff'), strict=False):
    path = results / '.claims' / f'{config.name}.7'
    path.write_bytes(content)
    os.utime(path, (1, 1))
  (results / '.claims' / f'{configs[5].name}.0').mkdir()
  os.utime(results / '.claims' / f'{configs[5].name}.0', (1, 1))
  process = start(grid, results)
  assert process.wait(120) == 0, said(results)
  assert metrics(configs) == metrics(configs_of(grid, undisturbed))


def test_a_terminal_that_is_closed_ends_a_sweep_tidily(grid, tmp_path):
  results = tmp_path / 'results'
  configs = configs_of(grid, results)
  process = start(grid, results, '--jobs=1')
  wait_for(lambda: total_rounds(configs) >= 2, process)
  process.send_signal(signal.SIGHUP)
  assert process.wait(60) == 130
  assert 'stopping: ' in said(results)
  assert 'interrupted; to go on: ' in said(results)
  assert not (results / '.sweeps').exists()
  assert workers(results) == []


def test_what_a_killed_sweep_left_is_tidied_up_by_the_next(grid, tmp_path):
  results = tmp_path / 'results'
  configs = configs_of(grid, results, rounds=3)
  process = start(grid, results, '--jobs=1', '--rounds=3')
  wait_for(lambda: total_rounds(configs) >= 1, process)
  kill(process.pid)
  process.wait()
  assert list((results / '.sweeps').glob('*/session.json'))
  assert start(grid, results, '--jobs=1', '--rounds=3').wait(120) == 0
  assert not (results / '.sweeps').exists()


def test_a_dry_run_lists_the_cells_and_writes_nothing(grid, tmp_path, capsys):
  results = tmp_path / 'results'
  assert sweep.main(['sweep', '--rounds', '7', str(grid), '--results_dir', str(results), '--dry_run']) == 0
  lines = capsys.readouterr().out.splitlines()
  names = [config.name for config in configs_of(grid, results, rounds=7)]
  assert lines == [
    'digits: digits',
    *(f'to do    0/7  {name}' for name in names),
    f'0 of 6 cells done; 0 of 42 rounds; in {results}',
  ]
  assert not results.exists()


def test_another_thread_than_the_main_one_runs_a_sweep(grid, tmp_path, capsys):
  """As a notebook's helper does: Python has no signal handlers there."""
  codes = []
  flags = [f'--results_dir={tmp_path}', '--dry_run']
  thread = threading.Thread(target=lambda: codes.append(sweep.main(['sweep', str(grid), *flags])))
  thread.start()
  thread.join()
  assert codes == [0]
  assert '0 of 6 cells done' in capsys.readouterr().out


def test_the_parts_of_a_job_array_are_all_cells_once(grid, tmp_path, capsys):
  parts = []
  for index in range(4):
    flags = [f'--results_dir={tmp_path}', '--dry_run', f'--index={index}', '--count=4']
    assert sweep.main(['sweep', str(grid), *flags]) == 0
    parts.append([line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith('to do')])
  assert sorted(len(part) for part in parts) == [1, 1, 2, 2]
  assert [name for part in parts for name in part] == [config.name for config in configs_of(grid, tmp_path)]


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--jobs=0'], '--jobs=0'),
    (['--jobs', 'two'], '--jobs=two: a whole number of at least 1'),
    (['--jobs'], 'jobs'),
    (['--index=1'], '--index and --count'),
    (['--index=3', '--count=3'], 'from 0 to count - 1'),
    (['--round=3'], "Unknown command line flag 'round'"),
    (['--rounds=x'], '--rounds=x'),
    (['--name=run'], '--name: not for a sweep'),
    (['no_such_grid'], 'no_such_grid: no such grid'),
    (['--clients_per_round=101'], '--clients_per_round=101'),
    (['--dataset=mnist', '--data_dir=/no/such/folder'], '--data_dir'),
    (['--dataset=synthetic', '--model=cnn'], '--model=cnn'),
  ],
)
def test_bad_input_is_one_line_and_exit_code_2_before_the_first_run(grid, tmp_path, capsys, flags, message):
  assert sweep.main(['sweep', str(grid), f'--results_dir={tmp_path}', *flags]) == 2
  captured = capsys.readouterr()
  assert message in captured.err
  assert captured.err.startswith('error: ')
  assert captured.err.count('\n') == 1
  assert list(tmp_path.glob('*')) == []


def test_help_lists_the_grids(capsys):
  assert sweep.main(['sweep', '--help']) == 0
  shown = capsys.readouterr().out
  for path in grids.FOLDER.glob('*.toml'):
    assert f'  {path.stem} ' in shown


def test_the_script_takes_a_file_of_the_callers(grid):
  script = ROOT / 'experiments' / 'sweep.sh'
  command = ['bash', str(script), grid.name, '--dry_run', '--results_dir=/no/such/results']
  result = subprocess.run(command, cwd=grid.parent, capture_output=True, text=True, check=True)
  assert '0 of 6 cells done' in result.stdout


def test_a_cell_that_diverges_is_done_and_marked(tmp_path):
  """Its rows are a result, so that the sweep has not failed."""
  path = tmp_path / 'digits.toml'
  grid = "[base]\ndataset = 'digits'\nrounds = 2\nepochs = 1\n[grid]\nserver_optimizer = ['sgd', 'adam:epsilon=0']\n"
  path.write_text(grid + "[[curve]]\nname = 'FedAvg'\nalgorithm = 'fedavg'\n")
  results = tmp_path / 'results'
  for _ in range(2):
    process = start(path, results, '--jobs=1')
    assert process.wait(120) == 0, said(results)
  name = 'fedavg-digits-server_optimizer=adam:epsilon=0.0-epochs=1'
  assert said(results).count(f'done     2/2  {name}  (diverged in round 1)\n') == 2
  assert said(results).count('2 of 2 cells done (1 diverged or stood still); 4 of 4 rounds') == 2


def test_all_methods_in_one_process_say_nothing_but_their_own_words(tmp_path):
  """TensorFlow takes functions of runs that follow each other for one that is traced again and again."""
  path, results = tmp_path / 'methods.toml', tmp_path / 'results'
  base = "[base]\ndataset = 'digits'\nmodel = 'mlp_bn'\nrounds = 2\nrounds_per_dissimilarity = 1\n"
  needs = {name: factory().needs for name, factory in ALGORITHMS.items()}
  methods = [name for name in ALGORITHMS if not needs[name].components]  # mixtures are of plain models
  curves = (
    f"[[curve]]\nname = '{name}'\nalgorithm = '{name}'\nepochs = {needs[name].epochs + 1}\n" for name in methods
  )
  path.write_text(base + ''.join(curves))
  process = start(path, results, '--jobs=1')
  assert process.wait(400) == 0, said(results)
  logs = [run_folder.log_path(config).read_text() for config in configs_of(path, results)]
  assert len(logs) == len(methods)
  starts = ('20', 'round ', 'warning: ', 'note: ')  # the first is the time of the beginning
  assert [line for log in logs for line in log.splitlines() if not line.startswith(starts)] == []
  assert 'tensorflow' not in said(results).lower()
