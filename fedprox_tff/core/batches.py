# SPDX-License-Identifier: Apache-2.0
"""How a client's local steps lie in arrays: how wide a batch is there, and how many steps are compiled into one block.

XLA compiles each shape anew, so there are few of them. Up to 256 examples all clients have batches as wide as was asked
for, however few examples they hold. Wider ones are no wider than a client needs, rounded up to 256, 1024, 4096, ...: a
batch of all examples must not cost what the largest number that somebody writes would cost.
"""

from typing import Any, Literal

ALL: Literal['all'] = 'all'  # the batch size of a step over all examples of a client, whatever their number
BLOCK = 256  # local steps of a block, unless a batch is wide
WIDE = 256  # examples in a batch, above which its width depends on the client
_GROWTH = 4  # each width is so many times the one before
_ROWS = BLOCK * WIDE  # of a block, at most, unless it is of one step


def bounded(batch_size: int | Literal['all'], most_examples: int) -> int:
  """Returns B as a number, and none that is larger than both `WIDE` and the largest client of a federation.

  What trains on the same batches thus has the same shapes, and so the same bits, however B was written.
  """
  if batch_size == ALL or batch_size > WIDE:
    return max(1, most_examples if batch_size == ALL else min(batch_size, most_examples))
  return batch_size


def width(num_examples: int, batch_size: int) -> int:
  """Returns how many examples a batch has room for, on a client with so many examples and for batches of B.

  It is B, or no less than all that the client has: S = ceil(n_k / B) is the same with either.
  """
  wide = WIDE
  while wide < num_examples:
    wide *= _GROWTH
  return min(wide, batch_size) if batch_size > WIDE else batch_size


def block(width: Any, minimum: Any = min, maximum: Any = max) -> Any:
  """Returns the number of local steps in a block of batches so wide; in a graph with TensorFlow's functions."""
  return maximum(1, minimum(BLOCK, _ROWS // maximum(1, width)))


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Returns S = ceil(n_k / B)."""
  return -(-num_examples // batch_size)
