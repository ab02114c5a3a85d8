# SPDX-License-Identifier: Apache-2.0
"""A terminal with an interactive shell in it is closed while a program runs in its foreground.

The program gets SIGHUP twice, from the shell and from the system when the shell ends, and its terminal is gone.
"""

import fcntl
import os
import pathlib
import pty
import shlex
import subprocess
import sys
import termios
import time

import pytest

from fedprox_tff.training import checkpoint_file, metrics_file

ROOT = pathlib.Path(__file__).parents[1]
SETTINGS = {'dataset': 'digits', 'rounds': 3000, 'epochs': 20, 'rounds_per_checkpoint': 3000}


class Terminal:
  """A terminal with a shell, which starts a program in its foreground."""

  def __init__(self, command):
    self._master, slave = pty.openpty()
    self._shell = subprocess.Popen(
      ['bash', '--norc', '--noprofile', '-i'],
      cwd=ROOT,
      stdin=slave,
      stdout=slave,
      stderr=slave,
      start_new_session=True,
      preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    os.set_blocking(self._master, False)
    os.write(self._master, f'{shlex.join(command)}\n'.encode())

  def wait_for(self, condition, seconds=90):
    """Waits, and reads what is shown meanwhile: a terminal that nobody reads would be full."""
    shown, deadline = b'', time.monotonic() + seconds
    while not condition():
      assert time.monotonic() < deadline, shown
      try:
        shown += os.read(self._master, 1 << 16)
      except BlockingIOError:
        time.sleep(0.02)

  def programs(self):
    """Returns the processes that the shell started."""
    children = pathlib.Path(f'/proc/{self._shell.pid}/task/{self._shell.pid}/children').read_text()
    return [int(pid) for pid in children.split()]

  def close(self):
    """Closes the terminal, and returns when the shell and its program have ended."""
    programs = self.programs()
    assert len(programs) == 1
    os.close(self._master)
    self._shell.wait(60)
    deadline = time.monotonic() + 60
    while any(pathlib.Path(f'/proc/{pid}').exists() for pid in programs):
      assert time.monotonic() < deadline
      time.sleep(0.02)


def saved(folder):
  """Returns the rounds of the checkpoints and the last of the rows in a run's folder."""
  return checkpoint_file.saved_rounds(folder), metrics_file.last_round(folder)


def test_a_run_ends_after_its_round(tmp_path):
  command = [sys.executable, '-m', 'fedprox_tff.run', *(f'--{key}={value}' for key, value in SETTINGS.items())]
  terminal = Terminal([*command, f'--results_dir={tmp_path}', '--name=run'])
  terminal.wait_for(lambda: metrics_file.last_round(tmp_path / 'run') >= 5)
  assert checkpoint_file.saved_rounds(tmp_path / 'run') == []
  terminal.close()
  (rounds,), last = saved(tmp_path / 'run')
  assert rounds == last >= 5


@pytest.mark.parametrize('jobs', [1, 2])
def test_a_sweep_ends_after_the_rounds_of_its_processes(tmp_path, jobs):
  base = ''.join(f'{key} = {value!r}\n' for key, value in SETTINGS.items())
  (tmp_path / 'grid.toml').write_text(f"[base]\n{base}[grid]\nseed = [0, 1]\n[[curve]]\nname = 'FedProx'\n")
  results = tmp_path / 'results'
  command = [sys.executable, '-m', 'fedprox_tff.sweep', str(tmp_path / 'grid.toml')]
  terminal = Terminal([*command, f'--results_dir={results}', f'--jobs={jobs}'])

  def at_work():
    return [path.parent for path in results.glob('*/metrics.csv') if metrics_file.last_round(path.parent) >= 3]

  terminal.wait_for(lambda: len(at_work()) == jobs)
  terminal.close()
  for folder in at_work():
    (rounds,), last = saved(folder)
    assert rounds == last >= 3
  assert len(at_work()) == jobs
  assert not (results / '.sweeps').exists()
