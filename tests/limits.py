# SPDX-License-Identifier: Apache-2.0
"""A full disk, nearly: the system's limit of a file's size makes writing fail half-way."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
  """Lets no file of this process grow beyond a size; Python ignores the signal that would end it."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
