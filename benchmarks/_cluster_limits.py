# SPDX-License-Identifier: Apache-2.0
"""On paper: what is in the way of a cluster of many workers, going by what was measured on a small one."""

from typing import NamedTuple

from fedprox_tff.federated.runtimes.context import largest_group
from fedprox_tff.federated.runtimes.on_ray import level_of_blocks


class Figures(NamedTuple):
  """Seconds that the driver's machine takes for a byte of a model, as measured."""

  merge: float  # to add one sum to another one
  put: float  # to put the server's message into the object store
  pull: float  # to move an object between its store and another node's, the network aside


class Limits(NamedTuple):
  """What a round cannot be faster than, in seconds, if one part has to do its own share and nothing else waits."""

  blocks: int  # sums that come back
  sent: float  # bytes, to all nodes
  returned: float  # bytes, from all workers
  merge: float
  store: float
  network: float

  @property
  def slowest(self) -> str:
    """Which part is the limit."""
    parts = {"the driver's merge": self.merge, 'the object store': self.store, 'the network': self.network}
    return max(parts, key=parts.get)


def limits(
  figures: Figures, *, model_bytes: float, nodes: int, workers: int, clients: int, bits_a_second: float
) -> Limits:
  """Computes what one driver can do.

  One model goes to each node and one sum comes back for each block. All of them cross the link of the driver's machine,
  whose object store moves them, and one thread merges. Nodes can have the message from one another, which would leave
  the driver less to send; that is not counted on.

  Args:
    figures: What was measured.
    model_bytes: The size of the model, which is that of a sum too.
    nodes: Machines.
    workers: Workers on all of them.
    clients: Clients in the cohort, none of which has much more work than others.
    bits_a_second: What the link of the driver's machine carries.
  """
  groups = -(-clients // largest_group(model_bytes))
  blocks = -(-groups // 2 ** level_of_blocks(groups, workers))
  sent, returned = nodes * model_bytes, blocks * model_bytes
  return Limits(
    blocks,
    sent,
    returned,
    merge=(blocks - 1) * model_bytes * figures.merge,
    store=model_bytes * figures.put + (sent + returned) * figures.pull,
    network=8 * (sent + returned) / bits_a_second,
  )
