# SPDX-License-Identifier: Apache-2.0
"""Workers without TensorFlow, for the tests of a crew; Ray imports them by name."""

import os
import pathlib
import signal
import time

from fedprox_tff.core.errors import DamagedError, UserError


class Counter:
  """Adds what it was taught to what it is asked."""

  def __init__(self):
    self._taught = 0

  def about(self):
    return {'node': 'here', 'pid': os.getpid()}

  def learn(self, number):
    self._taught += number

  def add(self, number):
    return self._taught + number, os.getpid()

  def die_once(self, number, folder):
    """Ends the first worker that is asked for a number."""
    if self._is_first(number, folder):
      os.kill(os.getpid(), signal.SIGKILL)
    return self._taught + number

  def sleep_once(self, number, folder):
    """Holds up the first worker that is asked for the number 3, whose answer is wrong then."""
    if number == 3 and self._is_first(number, folder):
      time.sleep(30)
      return -1
    return number

  def die(self):
    os.kill(os.getpid(), signal.SIGKILL)

  def refuse(self):
    raise UserError('node here has other data')

  def find_damage(self):
    raise DamagedError('/x/7-1.state is not as it was written')

  def fail(self):
    raise ZeroDivisionError('no way')

  def _is_first(self, number, folder):
    try:
      (pathlib.Path(folder) / str(number)).touch(exist_ok=False)
    except FileExistsError:
      return False
    return True
