# SPDX-License-Identifier: Apache-2.0
"""Where a command was given: its workers on other nodes look for files as it does."""

import contextlib
import os
from collections.abc import Mapping
from typing import NamedTuple

_VARIABLES = ('FEDPROX_DATA_DIR',)


class Place(NamedTuple):
  """What a worker takes over from the command that it works for."""

  directory: str  # from which relative paths count
  environment: Mapping[str, str]  # variables that have these values unless the node has others

  def enter(self) -> None:
    """Makes this process look for files from here; where a node has no such directory, it stays where it is."""
    for name, value in self.environment.items():
      os.environ.setdefault(name, value)
    with contextlib.suppress(OSError):
      os.chdir(self.directory)


def here() -> Place:
  """Returns where this process is."""
  return Place(os.getcwd(), {name: os.environ[name] for name in _VARIABLES if name in os.environ})
