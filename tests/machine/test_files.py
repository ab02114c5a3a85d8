# SPDX-License-Identifier: Apache-2.0
"""A file is whole or as it was, whatever goes wrong while it is written."""

import os
import signal
import subprocess
import sys

import pytest

from fedprox_tff.machine import files
from tests.limits import files_of_at_most


def test_a_file_has_the_content_and_nothing_else_is_left(tmp_path):
  path = tmp_path / 'file'
  files.write_text(path, 'größer')
  files.write_bytes(path, b'later')
  assert path.read_bytes() == b'later'
  assert list(tmp_path.iterdir()) == [path]


def test_what_others_may_read_is_what_the_umask_says(tmp_path):
  before = os.umask(0o027)
  try:
    files.write_text(tmp_path / 'file', '')
  finally:
    os.umask(before)
  assert (tmp_path / 'file').stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_a_file_that_is_not_finished_leaves_the_one_before(tmp_path, error):
  path = tmp_path / 'file'
  path.write_text('before')
  with pytest.raises(error), files.replacing(path) as unfinished:
    unfinished.write_text('half')
    raise error
  assert path.read_text() == 'before'
  assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path):
  path = tmp_path / 'file'
  path.write_text('before')
  with pytest.raises(OSError, match='File too large') as error, files_of_at_most(1000):
    files.write_bytes(path, bytes(1001))
  assert error.value.filename == str(path)
  assert path.read_text() == 'before'
  assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_place_of_the_file_is_said_with_its_name(tmp_path):
  (tmp_path / 'file').mkdir()
  with pytest.raises(IsADirectoryError) as error:
    files.write_text(tmp_path / 'file', 'text')
  assert error.value.filename == str(tmp_path / 'file')
  assert list(tmp_path.iterdir()) == [tmp_path / 'file']


def test_an_error_about_another_file_keeps_its_name(tmp_path):
  with pytest.raises(FileNotFoundError) as error, files.replacing(tmp_path / 'file'):
    (tmp_path / 'source').read_text()
  assert error.value.filename == str(tmp_path / 'source')


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
  kill = 'with files.replacing(pathlib.Path(sys.argv[1])) as path: path.touch(); os.kill(os.getpid(), 9)'
  code = f'import os, pathlib, sys\nfrom fedprox_tff.machine import files\n{kill}'
  killed = subprocess.run([sys.executable, '-c', code, str(tmp_path / 'file')], check=False)
  assert killed.returncode == -signal.SIGKILL
  (tmp_path / 'other').touch()
  assert len(list(tmp_path.iterdir())) == 2
  files.remove_unfinished(tmp_path)
  assert list(tmp_path.iterdir()) == [tmp_path / 'other']
