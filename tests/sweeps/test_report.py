# SPDX-License-Identifier: Apache-2.0
import io

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.sweeps import report
from fedprox_tff.sweeps.report import Report
from fedprox_tff.sweeps.status import Status
from fedprox_tff.training.run_folder import folder, log_path


class Terminal(io.StringIO):
  def isatty(self):
    return True


class Clock:
  """A clock that is set by hand."""

  now = 0.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock():
  return Clock()


def statuses(*rounds, total=100, failed=False):
  configs = [Config.from_flags({'dataset': 'digits', 'rounds': total, 'seed': i}) for i in range(len(rounds))]
  states = ['done' if r == total else 'running' if r else 'to do' for r in rounds]
  if failed:
    states[-1] = 'failed'
  return [Status(*values, 'no luck' if values[1] == 'failed' else '')
          for values in zip(configs, states, rounds, strict=True)]  # fmt: skip


def test_the_live_line_has_the_speed_and_the_time_left(clock):
  stream = Terminal()
  report = Report(stream, clock)
  for now, rounds in ((0, (0, 0)), (8, (0, 0)), (9, (4, 6)), (12, (50, 20))):
    clock.now = now
    report.update(statuses(*rounds))
  # From the last moment without a round, 8 s, on: 70 rounds in 4 s, and 130 to go.
  assert stream.getvalue().split('\r\x1b[K')[-1] == (
    '0 of 2 cells done, 2 running; 70 of 200 rounds, 17.5 rounds/s, 0:07 left'
  )
  assert '\n' not in stream.getvalue()


def test_hours_are_left(clock):
  stream = Terminal()
  report = Report(stream, clock)
  report.update(statuses(0, total=10_000))
  clock.now = 10
  report.update(statuses(10, total=10_000))
  assert stream.getvalue().endswith(', 1.0 rounds/s, 2:46:30 left')


def test_the_speed_is_that_of_the_recent_past(clock):
  stream = Terminal()
  report = Report(stream, clock)
  for now in range(0, 1000, 10):
    clock.now = now
    report.update(statuses(now // 10 if now < 500 else (now - 500) + 50, total=1000))
  assert ', 1.0 rounds/s' in stream.getvalue().split('\r')[-1]


def test_rounds_that_a_kill_cost_are_no_speed(clock):
  stream = Terminal()
  report = Report(stream, clock)
  for now, rounds in ((0, 50), (1, 40)):
    clock.now = now
    report.update(statuses(rounds))
  assert stream.getvalue().endswith('40 of 100 rounds')


def test_plain_lines_are_few(clock):
  stream = io.StringIO()
  report = Report(stream, clock)
  for rounds in range(101):
    clock.now = rounds
    report.update(statuses(rounds, rounds, rounds, rounds))
  assert len(stream.getvalue().splitlines()) == 21
  assert '\r' not in stream.getvalue()
  assert stream.getvalue().splitlines()[-1] == '4 of 4 cells done; 400 of 400 rounds'


def test_a_failure_is_said_at_once(clock):
  stream = io.StringIO()
  report = Report(stream, clock)
  report.update(statuses(50, 50))
  report.update(statuses(50, 50, failed=True))
  assert [line.split(';')[0] for line in stream.getvalue().splitlines()] == [
    '0 of 2 cells done, 2 running',
    '0 of 2 cells done, 1 running, 1 failed',
  ]


def test_the_table_marks_what_is_done_and_did_not_train(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  cells = statuses(3, 3, 3, 2, total=3)
  for status, losses in zip(cells, [(2, 1, 1, 1), (2, 1, 'inf', 'nan'), (2, 'nan', 1, 1), (2, 1, 'nan')], strict=True):
    path = folder(status.config)
    path.mkdir(parents=True)
    lines = ['round_num,cohort/skipped,test/accuracy,test/loss,train/accuracy,train/loss']
    lines += [f'{r},0,0.5,1,0.5,{loss}' for r, loss in enumerate(losses)]
    (path / 'metrics.csv').write_text('\n'.join(lines) + '\n')
  marked = report.marks(cells)
  assert marked == {'fedprox-digits-seed=1': 'diverged in round 2'}
  assert list(report.table(cells, marked=marked))[:2] == [
    'done     3/3  fedprox-digits',
    'done     3/3  fedprox-digits-seed=1  (diverged in round 2)',
  ]


def test_the_table_says_why_a_cell_failed(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  rows = statuses(100, 7, failed=True)
  assert list(report.table(rows)) == [
    'done     100/100  fedprox-digits',
    'failed     7/100  fedprox-digits-seed=1',
    '                  no luck',
  ]
  log_path(rows[1].config).parent.mkdir(parents=True)
  log_path(rows[1].config).touch()
  assert list(report.table(rows))[-1].endswith('no luck (results/fedprox-digits-seed=1/log.txt)')
