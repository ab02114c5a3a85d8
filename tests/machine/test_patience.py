# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from fedprox_tff.machine.patience import patiently


def test_an_error_that_passes_is_waited_for():
  tries = []

  def work():
    tries.append(True)
    if len(tries) < 3:
      raise OSError(5, 'Input/output error')
    return 'done'

  assert patiently(work, seconds=5) == 'done'
  assert len(tries) == 3


def test_an_error_that_stays_is_raised():
  def work():
    raise OSError(5, 'Input/output error')

  with pytest.raises(OSError, match='Input/output error'):
    patiently(work, seconds=0.1)


def test_any_other_error_is_none_of_the_disks():
  def work():
    raise ValueError

  with pytest.raises(ValueError, match=''):
    patiently(work, seconds=5)


def test_something_of_another_kind_in_the_way_is_not_waited_for(tmp_path):
  (tmp_path / 'folder').write_text('a file')
  then = time.monotonic()
  with pytest.raises(NotADirectoryError):
    patiently(lambda: list((tmp_path / 'folder').iterdir()), seconds=5)
  assert time.monotonic() - then < 1
