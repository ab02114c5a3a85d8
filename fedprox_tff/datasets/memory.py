# SPDX-License-Identifier: Apache-2.0
"""Whether a federation that is about to be generated fits into memory."""

from fedprox_tff.core.errors import DataError
from fedprox_tff.machine.resources import GIB, free_memory


def require_memory(num_clients: int, client_bytes: int) -> None:
  """Refuses so many clients that the system would kill the process for their examples.

  Args:
    num_clients: How many there are.
    client_bytes: What the examples of one take on average.

  Raises:
    DataError: If so.
  """
  needed, available = num_clients * client_bytes, free_memory()
  if needed > available:
    raise DataError(
      f'--num_clients={num_clients}: their examples take about {needed / GIB:,.1f} GiB of memory; '
      f'{available / GIB:,.1f} GiB are free, enough for {available // client_bytes:,.0f} clients.'
    )
