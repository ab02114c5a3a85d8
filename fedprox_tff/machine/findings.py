# SPDX-License-Identifier: Apache-2.0
"""What a check of the doctor's found."""

from typing import NamedTuple


class Finding(NamedTuple):
  """What a check found."""

  status: str  # 'ok', 'warn' or 'FAIL'
  what: str
  found: str
  cure: str = ''  # what to do; never empty unless the status is 'ok'

  def __str__(self) -> str:
    line = f'{self.status:4}  {self.what}: {self.found}'
    return f'{line}\n      -> {self.cure}' if self.cure else line
