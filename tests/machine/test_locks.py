# SPDX-License-Identifier: Apache-2.0
"""One process holds a lock, until it lets go or ends; looking takes it from nobody."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from fedprox_tff.core.errors import LockedError
from fedprox_tff.machine import locks

HOLDER = """
import pathlib, sys
from fedprox_tff.machine import locks
with locks.held(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  input()
"""


@pytest.fixture
def path(tmp_path):
  return tmp_path / '.lock'


def test_another_process_holds_it_until_it_ends(path):
  assert not locks.is_held(path)
  process = subprocess.Popen([sys.executable, '-c', HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
  assert process.stdout.readline() == b'held\n'
  for number in (signal.SIGSTOP, signal.SIGCONT):  # also while it is suspended
    process.send_signal(number)
    assert locks.is_held(path)
    with pytest.raises(LockedError), locks.held(path):
      pass
  process.kill()
  process.wait()
  assert not locks.is_held(path)
  with locks.held(path) as has_locks:
    assert has_locks


def test_whoever_looks_does_not_keep_it_from_whoever_wants_it(path):
  path.touch()
  ended = threading.Event()

  def look():
    while not ended.is_set():
      locks.is_held(path)

  lookers = [threading.Thread(target=look) for _ in range(4)]
  for looker in lookers:
    looker.start()
  try:
    for _ in range(100):
      with locks.held(path):
        pass
  finally:
    ended.set()
    for looker in lookers:
      looker.join()


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_says_so(path, monkeypatch, number):
  def flock(*_):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, 'flock', flock)
  with locks.held(path) as has_locks:
    assert not has_locks
  assert not locks.is_held(path)


def test_another_error_is_said_with_the_file(path, monkeypatch):
  def flock(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

  monkeypatch.setattr(fcntl, 'flock', flock)
  with pytest.raises(OSError, match=r"Input/output error: '.*/\.lock'"), locks.held(path):
    pass


def test_a_folder_in_its_place_is_one_line(path):
  path.mkdir()
  with pytest.raises(IsADirectoryError), locks.held(path):
    pass


def test_a_pipe_in_its_place_keeps_nobody_waiting(path):
  os.mkfifo(path)
  assert not locks.is_held(path)
  with pytest.raises(OSError, match=r"No such device or address: '.*/\.lock'"), locks.held(path):
    pass


def test_a_file_that_may_not_be_opened_is_an_error_and_not_held(path):
  path.symlink_to(path.name)  # a loop: also root, who runs tests in containers, cannot open it
  with pytest.raises(OSError, match=r"'.*/\.lock'"):
    locks.is_held(path)
  with pytest.raises(OSError, match=r"'.*/\.lock'"), locks.held(path):
    pass
