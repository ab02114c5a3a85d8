# SPDX-License-Identifier: Apache-2.0
"""How many processes a sweep starts, and what it does when they do not last."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import RunFailedError
from fedprox_tff.machine.processes import node, start_of
from fedprox_tff.machine.resources import GIB
from fedprox_tff.sweeps.claims import Record
from fedprox_tff.sweeps.pool import Pool
from fedprox_tff.sweeps.processes import Processes, default_jobs
from fedprox_tff.sweeps.session_folder import SessionFolder


def configs(n, **values):
  return [Config.from_flags({'dataset': 'digits', 'seed': seed, **values}) for seed in range(n)]


@pytest.mark.parametrize(
  ('cores', 'memory', 'num_cells', 'jobs'),
  [(2, 24, 45, 2), (64, 24, 45, 15), (64, 256, 45, 45), (8, 2, 45, 1), (8, 0.5, 45, 1), (8, 64, 3, 3)],
)
def test_as_many_processes_as_cores_memory_and_cells_allow(cores, memory, num_cells, jobs):
  assert default_jobs(configs(num_cells), cores=cores, memory=memory * GIB) == jobs


def test_one_process_has_the_gpu():
  assert default_jobs(configs(9, device='gpu'), cores=8, memory=64 * GIB) == 1


def test_no_more_processes_than_free_cells_and_jobs(tmp_path):
  session = SessionFolder(configs(5, results_dir=str(tmp_path)), since=0.0)
  pool = Pool(session, Processes(), jobs=3)
  try:
    for num_free, processes in ((0, 0), (1, 1), (1, 1), (5, 3), (5, 3)):
      pool.tend({}, num_free)
      assert len(pool._workers) == processes
  finally:
    for process in pool._workers:
      os.kill(process.owner[1], signal.SIGKILL)
    pool.stop()
    session.close()
  assert not (tmp_path / '.sweeps').exists()


def test_processes_that_end_at_once_end_the_sweep(tmp_path):
  session = SessionFolder(configs(5, results_dir=str(tmp_path)), since=0.0)
  pool = Pool(session, Processes(), jobs=1)
  session.path.write_text('not a session')
  deadline = time.monotonic() + 60
  with pytest.raises(RunFailedError, match=r'processes .* end at once: .*JSONDecodeError.*process-3\.log'):
    while time.monotonic() < deadline:
      pool.tend({}, 5)
      time.sleep(0.05)
  session.close()
  assert (tmp_path / '.sweeps').exists()  # with what they said


class Ended:
  """A worker that has ended already."""

  def __init__(self, owner, has_failed):
    self.owner, self.has_failed = owner, has_failed

  def has_ended(self):
    return True

  def last_words(self):
    return 'no luck'


class Engine:
  """Hires workers that have ended."""

  noun = ('actor', 'actors')

  def __init__(self, *workers):
    self.workers, self.hired = workers, 0

  def hire(self, session, number):
    self.hired += 1
    return Ended(*self.workers[(number - 1) % len(self.workers)])


CLAIMED = {'cell': Record(generation=0, modified=0.0, node='there', pid=7)}


@pytest.mark.parametrize(
  ('workers', 'is_over'),
  [
    ([(('', -1), True)], True),
    ([(('there', 8), True)], True),
    ([(('elsewhere', 7), True)], True),  # a number means a process on one machine only
    ([(('there', 7), True)], False),  # it had a cell: the cell counts how often that happens
    ([(('', -1), False)], False),  # it was refused, and others may not be
    ([(('', -1), True), (('', -1), True), (('there', 7), True)], False),
  ],
)
def test_workers_that_fail_without_a_cell_again_and_again_end_the_sweep(workers, is_over):
  engine = Engine(*workers)
  pool = Pool(None, engine, jobs=1)
  if is_over:
    with pytest.raises(RunFailedError, match=r'^the actors of the sweep end at once: no luck$'):
      for _ in range(10):
        pool.tend(CLAIMED, 5)
    assert engine.hired == 3
  else:
    for _ in range(10):
      pool.tend(CLAIMED, 5)
    assert engine.hired == 10


def of_a_dead_sweep():
  process = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
  started = start_of(process.pid)
  process.kill()
  process.wait()
  return json.dumps({'node': node(), 'pid': process.pid, 'started': started})


def of_a_living_sweep(where):
  return json.dumps({'node': where, 'pid': os.getppid(), 'started': start_of(os.getppid())})


SESSIONS = {
  # What is there, its age in seconds, and what is left of it.
  'dead': ({'session.json': of_a_dead_sweep, 'process-1.log': ''}, 0, None),
  'dead, with words': ({'session.json': of_a_dead_sweep, 'process-1.log': 'abort'}, 0, {'process-1.log'}),
  'alive': ({'session.json': lambda: of_a_living_sweep(node())}, 999, {'session.json'}),
  'elsewhere': ({'session.json': lambda: of_a_living_sweep('elsewhere')}, 999, {'session.json'}),
  'just made': ({}, 0, set()),
  'killed before it was written': ({'.0123.tmp': '{"no'}, 999, None),
  'words of long ago': ({'process-1.log': 'abort'}, 999, {'process-1.log'}),
  'odd': ({'session.json': '[1]'}, 999, {'session.json'}),
  'nested': ({'session.json': '[' * 100_000}, 999, {'session.json'}),
  'odd number': ({'session.json': '{"node": "x", "pid": [], "started": 1}'}, 999, {'session.json'}),
}


@pytest.mark.parametrize('kind', SESSIONS)
def test_a_sweep_removes_what_dead_ones_left_and_nothing_else(tmp_path, kind):
  files, age, left = SESSIONS[kind]
  folder = tmp_path / '.sweeps' / 'session'
  folder.mkdir(parents=True)
  for name, content in files.items():
    (folder / name).write_text(content() if callable(content) else content)
  os.utime(folder, (time.time() - age,) * 2)
  (tmp_path / '.sweeps' / 'a file').write_text('')
  SessionFolder(configs(1, results_dir=str(tmp_path)), since=0.0).close()
  assert ({path.name for path in folder.iterdir()} if folder.exists() else None) == left
  assert [path.name for path in (tmp_path / '.sweeps').iterdir() if path != folder] == ['a file']
