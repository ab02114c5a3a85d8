# SPDX-License-Identifier: Apache-2.0
import io
import math
import pathlib
import subprocess
import sys

from fedprox_tff.training.progress import Progress

ROOT = pathlib.Path(__file__).parents[2]


class Terminal(io.StringIO):
  def isatty(self):
    return True


def row(accuracy=0.5, **values):
  metrics = {'test/accuracy': accuracy, 'train/accuracy': accuracy, 'test/loss': 1.0, 'train/loss': 2.0}
  return {**metrics, 'cohort/size': 3, 'cohort/dropped': 1, 'cohort/non_finite': 0, 'cohort/skipped': 0, **values}


def report(stream, rounds, total, evaluated_every=1, **values):
  with Progress(total, stream) as progress:
    for round_num in rounds:
      progress.on_row(round_num, row(0.5 if round_num % evaluated_every == 0 else math.nan, **values))
  return stream.getvalue()


def numbers(text):
  return [int(line.split()[1].split('/')[0]) for line in text.splitlines() if line.startswith('round')]


def test_plain_lines_are_few_and_whole():
  said = report(io.StringIO(), range(401), 400)
  assert numbers(said) == list(range(0, 401, 20))
  assert '\r' not in said
  assert said.splitlines()[-1] == 'round 400/400  test accuracy 0.5000  test loss 1.0000  train loss 2.0000'


def test_plain_lines_are_of_rounds_that_were_evaluated():
  assert numbers(report(io.StringIO(), range(21), 20, evaluated_every=5)) == [0, 5, 10, 15, 20]
  assert numbers(report(io.StringIO(), range(101), 100, evaluated_every=7))[:3] == [0, 7, 14]


def test_a_terminal_has_one_live_line_with_the_time_left(monkeypatch):
  monkeypatch.setenv('COLUMNS', '60')
  said = report(Terminal(), range(6), 5)
  assert said.count('\n') == 1  # the one that leaves the line
  assert said.count('\r\x1b[K') == 6
  assert max(len(part) for part in said.split('\r\x1b[K')) <= 60
  monkeypatch.setenv('COLUMNS', '200')
  assert 'left' in report(Terminal(), range(3), 5)


def test_warnings_are_lines_of_their_own():
  said = report(Terminal(), range(3), 5, **{'cohort/non_finite': 2, 'cohort/skipped': 1})
  assert 'warning: round 1: 2 clients left out, their updates are not finite\n' in said
  assert "the server's step was skipped, nobody contributed\n" in said
  overflow = report(Terminal(), range(3), 5, **{'cohort/skipped': 1})
  assert "the server's step was skipped, it would not lead to finite weights\n" in overflow


def test_warnings_of_one_kind_are_few_and_the_others_are_counted():
  said = report(io.StringIO(), range(1, 101), 100, **{'cohort/non_finite': 2, 'cohort/skipped': 1})
  warnings = [line for line in said.splitlines() if line.startswith('warning: ')]
  assert [line.split(':')[1] for line in warnings[:6]] == [f' round {r}' for r in (1, 1, 2, 2, 3, 3)]
  assert warnings[6:] == [
    'warning: clients left out in 97 more rounds, 100 in all',
    "warning: the server's step skipped in 97 more rounds, 100 in all",
  ]
  assert 'more rounds' not in report(io.StringIO(), range(1, 4), 100, **{'cohort/skipped': 1})


def test_a_reader_that_goes_away_does_not_end_the_run():
  code = """
import sys
from fedprox_tff.training.progress import Progress
from tests.training.test_progress import row
with Progress(4000) as progress:
  for round_num in range(4001):
    progress.on_row(round_num, row())
sys.exit(7)
"""
  process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline().startswith('round')
  process.stdout.close()
  assert process.wait(30) == 7


def test_a_run_can_be_ended_after_a_round():
  ended = []
  with Progress(5, io.StringIO(), after_round=lambda: ended.append(True)) as progress:
    progress.on_row(1, row())
  assert ended == [True]


def test_resuming_is_said():
  stream = io.StringIO()
  Progress(10, stream).on_resume(4)
  Progress(10, stream).on_resume(10)
  Progress(10, stream).on_resume(12)
  assert stream.getvalue().splitlines() == [
    'going on after round 4',
    'this run is done: 10 rounds',
    'this run is done: it has 12 rounds, more than the 10 asked for',
  ]
