# SPDX-License-Identifier: Apache-2.0
"""Signals at any moment: before training the process ends at once, in it after a round, and a second one at once."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from fedprox_tff.machine import signals
from fedprox_tff.machine.console import INTERRUPTED

ROOT = pathlib.Path(__file__).parents[2]
SWALLOWED = """
import gc, os, signal, time
from fedprox_tff.machine import signals

def callback(phase, info):
  if phase == 'stop' and not sent:
    sent.append(True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)

sent = []
with signals.handled('goodbye') as interrupts:
  interrupts.begin_training()
  gc.callbacks.append(callback)
  gc.collect()
  try:
    interrupts.check()
  except KeyboardInterrupt:
    raise SystemExit(5)
"""


def test_a_signal_is_not_lost_in_a_callback_that_swallows_exceptions():
  """JAX has one in the garbage collector; an exception out of a handler would end there."""
  result = subprocess.run([sys.executable, '-c', SWALLOWED], cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 5
  assert result.stderr == '\nstopping after this round; again to stop at once\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(('begin', 'times'), [('', 1), ('interrupts.begin_training()', 2)])
def test_before_training_and_the_second_time_it_ends_at_once(number, begin, times):
  code = (
    'import os\nfrom fedprox_tff.machine import signals\n'
    f'with signals.handled("goodbye") as interrupts:\n  {begin or "pass"}\n'
    f'  for _ in range({times}): os.kill(os.getpid(), {int(number)})\n  print("still here")'
  )
  result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == INTERRUPTED
  assert result.stderr.endswith('\ngoodbye\n')
  assert result.stdout == ''


def test_handlers_are_put_back():
  before = signal.getsignal(signal.SIGTERM)
  with signals.handled('') as interrupts:
    interrupts.begin_training()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
      interrupts.check()
  assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_ignored_stays_ignored():
  """As SIGHUP is under nohup, and SIGINT in the background of a shell without job control."""
  code = (
    'import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom fedprox_tff.machine import signals\n'
    'with signals.handled("goodbye") as interrupts:\n  os.kill(os.getpid(), signal.SIGHUP)\n  print("still here")'
  )
  result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert (result.stdout, result.stderr) == ('still here\n', '')


def test_another_thread_has_no_handlers_and_needs_none():
  before, seen = signal.getsignal(signal.SIGTERM), []

  def run():
    with signals.handled('') as interrupts:
      interrupts.begin_training()
      interrupts.check()
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert seen == [before]
