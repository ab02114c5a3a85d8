# SPDX-License-Identifier: Apache-2.0
"""What a process puts into the temporary folder is gone after it, or after the next one."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest

from fedprox_tff.machine import scratch
from fedprox_tff.machine.processes import start_of

ROOT = pathlib.Path(__file__).parents[2]
HOLD = """
import sys, tempfile
from fedprox_tff.machine import scratch
with scratch.own() as folder:
  file = tempfile.NamedTemporaryFile(delete=False)
  print(folder, flush=True)
  sys.stdin.read()
"""

MODEL = """
import tensorflow as tf

def network(input_shape, num_classes):
  return tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(num_classes)])
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
  """A temporary folder of the test's own, as `$TMPDIR` is for a process."""
  monkeypatch.setenv('TMPDIR', str(tmp_path))
  monkeypatch.setattr(tempfile, 'tempdir', None)
  return tmp_path


def hold():
  """Starts a process that has a folder with a file in it, and waits."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )
  return process, pathlib.Path(process.stdout.readline().strip())


@pytest.mark.parametrize('error', [None, ValueError])
def test_it_is_gone_after_the_block_and_all_is_as_it_was(place, error):
  tempfile.gettempdir()
  before = tempfile.tempdir
  try:
    with scratch.own() as folder:
      assert folder.parent == place
      assert folder.stat().st_mode & 0o777 == 0o700
      with tempfile.NamedTemporaryFile(delete=False) as file:
        assert pathlib.Path(file.name).parent == folder
      if error:
        raise error
  except ValueError:
    pass
  assert tempfile.tempdir == before
  assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(place):
  dead, left = hold()
  dead.send_signal(signal.SIGKILL)
  assert dead.wait() == -signal.SIGKILL
  assert list(left.iterdir())
  others = [place / 'fedprox_tff_', place / 'fedprox_tff_0123456789ab_1_1_x', place / 'mine']
  others.append(place / left.name.replace(f'_{dead.pid}_', '_none_'))
  for path in others:
    path.mkdir()
  living, used = hold()
  try:
    assert not left.exists()
    with scratch.own():
      assert list(used.iterdir())
    assert all(path.exists() for path in others)
  finally:
    living.communicate('')
  assert living.returncode == 0
  assert not used.exists()


def test_a_number_that_another_process_has_now_is_of_a_dead_one(place):
  with scratch.own() as folder:
    pass
  me = f'_{os.getpid()}_{start_of(os.getpid())}_'
  earlier = place / folder.name.replace(me, f'_{os.getpid()}_{start_of(os.getpid()) - 1}_')
  earlier.mkdir()
  with scratch.own():
    assert not earlier.exists()


@pytest.mark.parametrize('flag', ['--runtime=worker', '--model={}/own.py:network'])
def test_a_run_that_is_killed_leaves_nothing_after_the_next_one(tmp_path, flag):
  """TFF's worker has a log there, and AutoGraph what it made of a user's model."""
  place, results = tmp_path / 'temporary', tmp_path / 'results'
  place.mkdir()
  command = [sys.executable, '-m', 'fedprox_tff.run', '--dataset=digits', '--epochs=1', f'--results_dir={results}']
  environment = {**os.environ, 'TMPDIR': str(place)}
  (tmp_path / 'own.py').write_text(MODEL)
  command += ['--name=run', flag.format(tmp_path)]
  with open(tmp_path / 'log', 'w') as log:
    settings = {'cwd': ROOT, 'env': environment, 'stdin': subprocess.DEVNULL, 'stderr': log}
    process = subprocess.Popen([*command, '--rounds=5000'], stdout=subprocess.PIPE, text=True, **settings)
    while not process.stdout.readline().startswith('round'):
      assert process.poll() is None
    process.kill()
    process.wait()
    process.stdout.close()
    assert [path.parent.name.startswith('fedprox_tff_') for path in place.glob('*/*')]  # there was something
    assert subprocess.run([*command, '--name=other', '--rounds=1'], stdout=log, **settings, check=False).returncode == 0
  assert list(place.iterdir()) == []
