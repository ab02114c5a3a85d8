# SPDX-License-Identifier: Apache-2.0
"""A cell has one owner at a time, whoever comes, dies or sleeps."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from fedprox_tff.machine.processes import node, start_of
from fedprox_tff.sweeps import claims as module
from fedprox_tff.sweeps.claims import Claims

ELSEWHERE = 'another-machine'


def write(claims, cell='cell', generation=0, age=0.0, **values):
  """Writes a claim of somebody else's."""
  record = module.Record(generation=generation, modified=0.0, node=ELSEWHERE, **values)
  path = claims.path(cell, generation)
  path.write_text(module.to_json(record))
  then = time.time() - age
  os.utime(path, (then, then))
  return path


def start_and_kill():
  """Returns the number and the start of a process that is gone."""
  process = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
  started = start_of(process.pid)
  process.kill()
  process.wait()
  return process.pid, started


def test_the_second_taker_of_a_cell_gets_none_until_it_is_left(tmp_path):
  a, b = Claims(tmp_path), Claims(tmp_path)
  claim = a.acquire('cell')
  assert claim
  assert b.acquire('cell') is None
  assert b.acquire('other')
  claim.release()
  assert b.acquire('cell')


def test_a_done_cell_leaves_no_files(tmp_path):
  claims = Claims(tmp_path)
  claims.acquire('cell').release()
  claims.acquire('cell').finish()
  assert list(tmp_path.iterdir()) == []


def test_many_takers_of_a_dead_owners_cell_have_one_winner(tmp_path):
  for turn in range(20):
    write(Claims(tmp_path), f'cell{turn}', age=100)
    takers = [Claims(tmp_path, since=time.time() + 10) for _ in range(8)]
    barrier, won = threading.Barrier(8), []

    def take(taker, barrier=barrier, won=won, turn=turn):
      barrier.wait()
      claim = taker.acquire(f'cell{turn}')
      if claim:
        won.append(claim)

    threads = [threading.Thread(target=take, args=[taker]) for taker in takers]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert len(won) == 1


def test_a_late_taker_cannot_take_the_cell_from_the_new_owner(tmp_path):
  late, other = Claims(tmp_path), Claims(tmp_path)
  write(late, age=100)
  seen = late.records()
  assert other.acquire('cell')
  assert late.take('cell', seen['cell']) is None  # it judged the first owner before the other one came


@pytest.mark.parametrize(('age', 'taken'), [(1, False), (55, False), (65, True)])
def test_an_owner_elsewhere_is_dead_after_a_minute_without_a_touch(tmp_path, age, taken):
  claims = Claims(tmp_path)
  write(claims, age=age)
  assert bool(claims.acquire('cell')) == taken


def test_an_owner_that_has_not_written_its_name_yet_is_left_alone(tmp_path):
  claims = Claims(tmp_path)
  claims.path('cell', 0).touch()
  assert claims.acquire('cell') is None


def test_a_dead_process_of_this_machine_is_dead_at_once(tmp_path):
  claims = Claims(tmp_path)
  pid, started = start_and_kill()
  path = write(claims)
  path.write_text(json.dumps({'node': node(), 'pid': pid, 'started': started}))
  assert claims.acquire('cell')


def test_a_living_process_of_this_machine_keeps_its_cell_however_old_its_touch(tmp_path):
  claims = Claims(tmp_path)
  mine = {'node': node(), 'pid': os.getpid(), 'started': start_of(os.getpid())}
  path = write(claims, age=1000)
  path.write_text(json.dumps(mine))
  os.utime(path, (0, 0))
  assert claims.acquire('cell') is None
  path.write_text(json.dumps(mine | {'started': mine['started'] - 1}))  # the number was another process's before
  assert claims.acquire('cell')


def test_a_zombie_is_dead():
  process = subprocess.Popen([sys.executable, '-c', ''])
  deadline = time.monotonic() + 10
  while start_of(process.pid) and time.monotonic() < deadline:
    time.sleep(0.01)
  assert start_of(process.pid) == 0  # nobody has waited for it
  process.wait()


def test_the_heartbeat_touches_the_claim(tmp_path):
  claims = Claims(tmp_path, heartbeat=0.02)
  claim = claims.acquire('cell')
  os.utime(claims.path('cell', 0), (0, 0))
  time.sleep(0.3)
  assert claims.records()['cell'].modified > time.time() - 10
  assert not claim.is_lost
  claim.release()


def test_an_owner_that_was_taken_for_dead_learns_it(tmp_path):
  claims = Claims(tmp_path, heartbeat=0.02)
  claim = claims.acquire('cell')
  write(claims, generation=1)
  time.sleep(0.3)
  assert claim.is_lost


def test_a_failure_is_tried_again_by_later_sweeps_only(tmp_path):
  first = Claims(tmp_path)
  first.acquire('cell').fail('no data')
  assert first.has_failed(first.records()['cell'])
  assert first.records()['cell'].reason == 'no data'
  assert first.acquire('cell') is None
  later = Claims(tmp_path, since=first.since + 10)
  assert not later.has_failed(later.records()['cell'])
  assert later.acquire('cell')
  assert not first.has_failed(first.records()['cell'])  # someone works on it again


def test_a_cell_whose_processes_die_fails_after_two_attempts_of_one_sweep(tmp_path):
  pid, started = start_and_kill()
  dead = {'node': node(), 'pid': pid, 'started': started}
  claims = Claims(tmp_path)
  for attempt in (1, 2):
    claim = claims.acquire('cell')
    assert claim._record.attempt == attempt
    claim._stop()
    path = claims.path('cell', claim._record.generation)
    path.write_text(module.to_json(dataclasses.replace(claim._record, **dead)))
  assert claims.acquire('cell') is None
  assert claims.has_failed(claims.records()['cell'])
  assert 'died 2 times' in claims.records()['cell'].reason
  assert Claims(tmp_path, since=time.time() + 10).acquire('cell')  # a new sweep counts anew


ODD = {
  'empty': b'',
  'half': b'{"state": "runn',
  'no UTF-8': b'\xff\xfe\xfd',
  'NUL': bytes(40),
  'a list': b'[1, 2]',
  'null': b'null',
  'nested': b'[' * 100_000,
  'other keys': b'{"owner": "me"}',
  'another state': b'{"state": "resting", "node": "a", "pid": 1, "started": 1, "attempt": 1, "reason": ""}',
  'a state that is a list': b'{"state": ["running"], "node": "a", "pid": 1, "started": 1, "attempt": 1, "reason": ""}',
  'text for a number': b'{"state": "running", "node": "a", "pid": "1", "started": 1, "attempt": 1, "reason": ""}',
  'truth for a number': b'{"state": "running", "node": "a", "pid": true, "started": 1, "attempt": 1, "reason": ""}',
  'a number that nobody has': b'{"state": "running", "attempt": ' + b'9' * 4300 + b'}',
  'a number that Python refuses': b'{"state": "running", "attempt": ' + b'9' * 5000 + b'}',
  'a number below 0': b'{"state": "running", "attempt": -1}',
  'no number': b'{"state": "running", "pid": NaN}',
  'a number for text': b'{"state": "failed", "node": 7, "pid": 1, "started": 1, "attempt": 1, "reason": ""}',
}


def put_odd(path, kind):
  if kind == 'a folder':
    path.mkdir()
  elif kind == 'a link to nowhere':
    path.symlink_to('nowhere')
  elif kind == 'a loop of links':
    path.symlink_to(path.name)
  elif kind == 'a pipe':
    os.mkfifo(path)
  else:
    path.write_bytes(ODD[kind])


@pytest.mark.parametrize('kind', [*ODD, 'a folder', 'a link to nowhere', 'a loop of links', 'a pipe'])
def test_an_odd_file_is_that_of_an_owner_that_has_not_written_it_yet(tmp_path, kind):
  """It is held until it is old; then the next generation is taken, and nobody stumbles over it."""
  claims = Claims(tmp_path)
  put_odd(claims.path('cell', 3), kind)
  record = claims.records()['cell']
  assert (record.generation, record.state, record.node) == (3, 'running', '')
  assert claims.is_held(record)
  assert claims.acquire('cell') is None
  later = Claims(tmp_path, stale=0.0)
  claim = later.acquire('cell')
  assert later.records()['cell'].generation == 4
  claim.finish()
  assert not claims.path('cell', 4).exists()


def test_what_a_later_version_says_besides_is_passed_over(tmp_path):
  claims = Claims(tmp_path)
  path = write(claims)
  path.write_text(path.read_text().replace('{', '{"mood": "good", ', 1))
  assert claims.records()['cell'].node == ELSEWHERE


@pytest.mark.parametrize('generation', [99_999, 999_999, 2**31 - 1, 2**63 - 1, 10**18])
def test_a_generation_may_be_any_number(tmp_path, generation):
  claims = Claims(tmp_path)
  write(claims, generation=generation, age=100)
  claim = claims.acquire('cell')
  assert claim
  assert Claims(tmp_path).acquire('cell') is None  # the next one sees the new owner
  then = time.monotonic()
  claim.finish()
  assert time.monotonic() - then < 1
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('ahead', 'held'), [(30, True), (3600, False), (10**9, False)])
def test_a_touch_in_the_time_to_come_is_no_living_owners(tmp_path, ahead, held):
  """One that lives touches its claim again, by the disk's clock; without it the cell would be held for years."""
  claims = Claims(tmp_path)
  write(claims, age=-ahead)
  assert (claims.acquire('cell') is None) == held


def test_the_end_of_a_cell_leaves_the_claims_of_others_and_of_later_owners(tmp_path):
  claims = Claims(tmp_path)
  for cell, generation in (('cell.1', 0), ('cel', 0), ('cell', 3)):
    write(claims, cell, generation=generation)
  claims.remove('cell', 2)
  assert {path.name for path in tmp_path.iterdir()} == {'cell.1.0', 'cel.0', 'cell.3'}


def test_a_reason_is_one_line_whatever_is_written_there(tmp_path):
  claims = Claims(tmp_path)
  claims.path('cell', 0).write_text(r'{"state": "failed", "reason": "a\nb\u001b[31mc\ud800"}')
  assert claims.records()['cell'].reason == 'a b [31mc '


@pytest.mark.parametrize(
  'name', ['cell.\u0663', 'cell.x', 'cell.-1', '.1', 'cell', f'cell.{"9" * 5000}'[:250], 'cell.1.tmp']
)
def test_files_of_other_names_are_no_claims(tmp_path, name):
  (tmp_path / name).write_text('')
  assert Claims(tmp_path).records() == {}
  assert Claims(tmp_path).acquire('cell')
