# SPDX-License-Identifier: Apache-2.0
"""A folder of this process's own for temporary files, which are gone even if the process could not remove them.

A process that is killed leaves what it has in the temporary folder: a copy of the data for TFF's worker, and the files
that TensorFlow generates. The folder's name says which process it is of; whoever comes next on this machine removes the
folders of those that are dead.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from fedprox_tff.machine.processes import node, start_of

_PREFIX = 'fedprox_tff_'


@contextlib.contextmanager
def own() -> Iterator[pathlib.Path]:
  """Yields a new folder in `$TMPDIR` or `/tmp`, where all that uses `tempfile` puts its files in the block.

  Raises:
    OSError: If it cannot be made.
  """
  before, parent = tempfile.tempdir, pathlib.Path(tempfile.gettempdir())
  _sweep_up(parent)
  folder = pathlib.Path(tempfile.mkdtemp(prefix=f'{_prefix()}{os.getpid()}_{start_of(os.getpid())}_', dir=parent))
  tempfile.tempdir = str(folder)
  try:
    yield folder
  finally:
    tempfile.tempdir = before
    shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
  """Returns how the names of folders begin whose process numbers are those of this machine."""
  return f'{_PREFIX}{hashlib.sha256(node().encode()).hexdigest()[:12]}_'


def _sweep_up(parent: pathlib.Path) -> None:
  """Removes what dead processes of this user and this machine have left."""
  for path in parent.glob(f'{_prefix()}*'):
    of_process = re.match(r'(\d+)_(\d+)_', path.name.removeprefix(_prefix()))
    with contextlib.suppress(OSError):  # another process removes it, too
      if of_process and start_of(int(of_process[1])) != int(of_process[2]) and path.lstat().st_uid == os.getuid():
        shutil.rmtree(path, ignore_errors=True)
