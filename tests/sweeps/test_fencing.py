# SPDX-License-Identifier: Apache-2.0
"""An owner that others may take for dead writes nothing before it has claimed its cell anew."""

import os
import threading
import time

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.machine.console import DONE
from fedprox_tff.sweeps import claims as module
from fedprox_tff.sweeps import status, worker
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.training import checkpoint_file, metrics_file, run_folder
from fedprox_tff.training.session import Session

NEVER = 1e6  # a heartbeat that does not come: the disk is away, or the process sleeps


class Clock:
  """The owner's clock."""

  now = 100.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(module, '_clock', clock)
  return clock


def taken_by_another(claims, cell='cell'):
  """Returns the claim of a process on another machine that takes the owner for dead."""
  other = Claims(claims.folder, heartbeat=NEVER, stale=0.0)
  record = other.records()[cell]
  return other.take(cell, module.dataclasses.replace(record, node='another machine'))


def generations(claims):
  return sorted(path.name for path in claims.folder.iterdir())


def test_an_owner_that_touched_its_claim_lately_does_not_ask_the_disk(tmp_path, clock):
  claims = Claims(tmp_path, heartbeat=NEVER)
  claim = claims.acquire('cell')
  claims.path('cell', 0).unlink()
  clock.now += 44
  assert claim.is_mine()
  clock.now += 2
  assert not claim.is_mine()
  assert claim.is_lost
  assert generations(claims) == []


def test_an_owner_that_slept_claims_its_cell_anew(tmp_path, clock):
  claims = Claims(tmp_path, heartbeat=NEVER)
  seen = {}
  claim = claims.acquire('cell')
  seen['cell'] = module.dataclasses.replace(claims.records()['cell'], node='another machine', modified=0.0)
  clock.now += 1000
  assert claim.is_mine()
  assert generations(claims) == ['cell.0', 'cell.1']
  assert claims.is_held(claims.records()['cell'])
  assert claims.take('cell', seen['cell']) is None  # by one that looked before
  assert claim.is_mine()
  assert generations(claims) == ['cell.0', 'cell.1']
  claim.finish()
  assert generations(claims) == []


def test_an_owner_whose_cell_was_taken_writes_no_more(tmp_path, clock):
  claims = Claims(tmp_path, heartbeat=NEVER)
  claim = claims.acquire('cell')
  other = taken_by_another(claims)
  clock.now += 1000
  assert not claim.is_mine()
  claim.release()
  assert claims.records()['cell'].generation == 1
  assert claims.records()['cell'].state == 'running'
  other.finish()


def test_an_owner_whose_cell_was_taken_and_finished_writes_no_more(tmp_path, clock):
  claims = Claims(tmp_path, heartbeat=NEVER)
  claim = claims.acquire('cell')
  taken_by_another(claims).finish()
  assert generations(claims) == []
  clock.now += 1000
  assert not claim.is_mine()
  claim.release()
  assert generations(claims) == []


def test_a_touch_that_came_too_late_counts_for_nothing(tmp_path, clock, monkeypatch):
  claims = Claims(tmp_path, heartbeat=NEVER)
  claim = claims.acquire('cell')

  def slow(path, touch=os.utime):
    clock.now += 50
    touch(path)

  monkeypatch.setattr(os, 'utime', slow)
  claim._touch()
  assert claim.is_mine()
  assert generations(claims) == ['cell.0', 'cell.1']  # it had to ask


def test_the_heartbeat_makes_a_claim_last(tmp_path, clock):
  claims = Claims(tmp_path, heartbeat=0.02)
  claim = claims.acquire('cell')
  clock.now += 40
  begun, deadline = claim._until, time.monotonic() + 10
  while claim._until == begun and time.monotonic() < deadline:
    time.sleep(0.01)
  clock.now += 40
  assert claim.is_mine()
  assert generations(claims) == ['cell.0']
  claim.release()


def test_of_an_owner_that_wakes_and_a_taker_one_has_the_cell(tmp_path, clock):
  for turn in range(40):
    cell = f'cell{turn}'
    claims = Claims(tmp_path, heartbeat=NEVER)
    claim = claims.acquire(cell)
    barrier, taken = threading.Barrier(2), []

    def take(claims=claims, cell=cell, barrier=barrier, taken=taken):
      barrier.wait()
      taken.append(taken_by_another(claims, cell))

    thread = threading.Thread(target=take)
    clock.now += 1000
    thread.start()
    barrier.wait()
    mine = claim.is_mine()
    thread.join()
    if taken[0] is not None and mine:  # the taker looked after the owner had claimed its cell anew
      assert taken[0]._record.generation == 2
      clock.now += 1000
      mine = claim.is_mine()
    assert mine == (taken[0] is None)


@pytest.mark.parametrize('is_taken', [True, False])
def test_no_row_and_no_checkpoint_is_written_after_the_sleep_if_another_has_the_cell(tmp_path, monkeypatch, is_taken):
  config = Config.from_flags({'dataset': 'digits', 'rounds': 9, 'epochs': 1, 'results_dir': str(tmp_path)})
  claims = Claims(status.claims_folder(config), heartbeat=NEVER)
  monkeypatch.setattr(module, '_clock', lambda: 1000.0 if run_folder.rounds_done(config) >= 3 else 0.0)
  claim = claims.acquire(config.name)
  if is_taken:
    other = Claims(claims.folder).path(config.name, 1)
    other.write_text(claims.path(config.name, 0).read_text())
  with Session() as session:
    assert worker._run(config, claim, session, worker.Stop()) == DONE
  rows = metrics_file.read(run_folder.folder(config)).rows
  if is_taken:
    assert len(rows) == 4
    assert checkpoint_file.saved_rounds(run_folder.folder(config)) == []
    assert run_folder.log_path(config).read_text().endswith('left to another process\n')
    assert claims.records()[config.name].generation == 1
  else:
    assert len(rows) == 10
    assert run_folder.is_done(config)
    assert generations(claims) == []
