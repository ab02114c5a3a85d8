# SPDX-License-Identifier: Apache-2.0
"""What is on the disk when the power goes, and nothing else: content that was synced under names that were synced.

A file system may keep more than it promised. The worst that POSIX allows is tried here: what was written and not synced
is gone, a name whose file was never synced is an empty file, and a rename or a removal that was not synced did not
happen.
"""

import math
import os
import pathlib
import stat

import numpy as np
import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.config.settings import CLIENT_STATES
from fedprox_tff.core.errors import UserError
from fedprox_tff.machine import files
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.client_states import ClientStates
from fedprox_tff.training.run_folder import open_run
from tests.federations import load

DATA = load('digits', data_seed=0)
STATE = {'weights': np.arange(3, dtype=np.float32)}


class Disk:
  """What would be left of a folder after a power loss, as calls of fsync promise it."""

  def __init__(self, root, monkeypatch):
    self._root, self._fsync = root, os.fsync
    self._contents = {}  # of synced files, by inode
    self._names = {}  # of synced folders, by inode: name -> inode, whether it is a folder
    self._open = []  # descriptors, so that no inode is used again
    self.after_sync = lambda: None
    monkeypatch.setattr(os, 'fsync', self.fsync)
    self.fsync(os.open(root, os.O_RDONLY))

  def fsync(self, descriptor):
    self._fsync(descriptor)
    status = os.fstat(descriptor)
    self._open.append(os.dup(descriptor))
    if stat.S_ISDIR(status.st_mode):
      entries = list(os.scandir(pathlib.Path(f'/proc/self/fd/{descriptor}').readlink()))
      self._names[status.st_ino] = {entry.name: (entry.inode(), entry.is_dir()) for entry in entries}
    else:
      self._contents[status.st_ino] = pathlib.Path(f'/proc/self/fd/{descriptor}').read_bytes()
    self.after_sync()

  def copy_to(self, path):
    """Makes a folder of what is left."""
    self._copy(self._root.stat().st_ino, path)

  def _copy(self, inode, path):
    path.mkdir()
    for name, (inner, is_folder) in self._names.get(inode, {}).items():
      if is_folder:
        self._copy(inner, path / name)
      else:
        (path / name).write_bytes(self._contents.get(inner, b''))


def run_in(results):
  return Config.from_flags({'dataset': 'digits', 'results_dir': str(results), 'name': 'run'})


def states_in(folder, place):
  return ClientStates((np.zeros(2, np.float32),), folder.path / 'client_states', place=place)


def loaded(results, place):
  """Returns what a run would go on from: the round, its number in the state, in the rows, and what clients keep."""
  with open_run(run_in(results), DATA) as folder:
    states = states_in(folder, place)
    state, round_num = Checkpoints(folder, [].append).load(STATE, states)
    rows = [row['value'] for row in folder.metrics.rows()]
    weight = None if state is None else float(state['weights'][0])
    return round_num, weight, rows, {client: float(kept[0][0]) for client, kept in states.snapshot().items()}


def expected(round_num):
  if not round_num:
    return 0, None, [], {}
  return round_num, float(round_num), [k / 10 for k in range(round_num + 1)], {0: round_num, 1: 1.0}


@pytest.mark.parametrize('place', CLIENT_STATES)
def test_what_is_saved_outlasts_a_power_loss_at_any_moment(tmp_path, monkeypatch, place):
  """Before a save returns, the checkpoint before it is there; from then on the new one is."""
  root, tries = tmp_path / 'disk', iter(range(10_000))
  root.mkdir()
  disk, saved, saving = Disk(root, monkeypatch), [0], [0]

  def lose_power():
    disk.after_sync = lambda: None
    left = tmp_path / f'left-{next(tries)}'
    disk.copy_to(left)
    now = loaded(left / 'results', place)
    assert now in (expected(saved[-1]), expected(saving[0]))
    disk.after_sync = lose_power
    return now

  with open_run(run_in(root / 'results'), DATA) as folder:
    states, checkpoints = states_in(folder, place), Checkpoints(folder)
    checkpoints.load(STATE, states)
    disk.after_sync = lose_power
    for round_num in range(12):
      for client in (0, 1) if round_num == 1 else (0,) if round_num else ():
        states.put(client, (np.full(2, round_num, np.float32),), round_num)
      folder.metrics.append({'value': round_num / 10, 'other': math.nan}, round_num)
      if round_num in (3, 6, 10):
        saving[0] = round_num
        checkpoints.save({'weights': STATE['weights'] + round_num}, round_num, states.snapshot())
        saved.append(round_num)
        assert lose_power() == expected(round_num)
      checkpoints.forget_before(round_num)
      lose_power()
  assert next(tries) > 20


def test_without_the_sync_there_is_nothing(tmp_path, monkeypatch):
  """The disk of these tests forgets: what nobody synced is gone, and a name without its content is an empty file."""
  root = tmp_path / 'disk'
  root.mkdir()
  disk = Disk(root, monkeypatch)
  files.write_text(root / 'a', 'text')
  files.write_text(root / 'b', 'text', lasting=True)
  disk.copy_to(tmp_path / 'left')
  assert {path.name: path.read_text() for path in (tmp_path / 'left').iterdir()} == {'a': '', 'b': 'text'}


def test_a_config_that_was_lost_with_its_rows_is_refused_or_begins_anew(tmp_path, monkeypatch):
  root = tmp_path / 'disk'
  root.mkdir()
  disk = Disk(root, monkeypatch)
  with open_run(run_in(root / 'results'), DATA) as folder:
    folder.metrics.append({'value': 0.0}, 0)
    disk.copy_to(tmp_path / 'left')
  assert loaded(tmp_path / 'left' / 'results', 'memory')[0] == 0
  (tmp_path / 'left' / 'results' / 'run' / 'config.json').write_bytes(b'')
  with pytest.raises(UserError, match=r'config.json is not a run'):
    loaded(tmp_path / 'left' / 'results', 'memory')
