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


@pytest.mark.parametrize(
  ('number', 'begin', 'times'),
  [
    *((number, '', 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
    *((number, 'interrupts.begin_training()', 2) for number in (signal.SIGINT, signal.SIGTERM)),
  ],
)
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
    with signals.raised():
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert seen == [before, before]


@pytest.mark.parametrize('first', [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_hangup_is_never_the_second_signal(first):
  """A closed terminal sends two of them, the shell's and the system's; nobody has asked again."""
  code = (
    'import os, signal\nfrom fedprox_tff.machine import signals\n'
    'with signals.handled("goodbye") as interrupts:\n  interrupts.begin_training()\n'
    f'  for number in ({int(first)}, signal.SIGHUP, signal.SIGHUP): os.kill(os.getpid(), number)\n'
    '  print("still here")\n'
    'os.kill(os.getpid(), signal.SIGHUP)\nprint("at the end, too")'
  )
  result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert result.stdout == 'still here\nat the end, too\n'
  assert result.stderr == '\nstopping after this round; again to stop at once\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_program_without_rounds_is_interrupted_where_it_is(number):
  before = signal.getsignal(number)
  with pytest.raises(KeyboardInterrupt), signals.raised():
    os.kill(os.getpid(), number)
  assert signal.getsignal(number) == (signal.SIG_IGN if number == signal.SIGHUP else before)
  signal.signal(number, before)


def test_a_hangup_does_not_interrupt_what_tidies_up():
  before, tidied = signal.getsignal(signal.SIGHUP), []
  with pytest.raises(KeyboardInterrupt), signals.raised():
    try:
      os.kill(os.getpid(), signal.SIGHUP)
    finally:
      os.kill(os.getpid(), signal.SIGHUP)
      tidied.append(True)
  assert tidied == [True]
  signal.signal(signal.SIGHUP, before)
