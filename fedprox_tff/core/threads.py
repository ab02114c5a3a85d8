# SPDX-License-Identifier: Apache-2.0
"""How many threads TensorFlow takes for one operation.

The order in which a network's sums are added depends on it, and so do the last bits of a result. It is one, so that a
laptop, a job with two cores and a node with sixty have the same bits; clients share the cores, one each.
`$TF_NUM_INTRAOP_THREADS` says otherwise for a whole process.
"""

import contextlib
import os
import sys

_VARIABLE = 'TF_NUM_INTRAOP_THREADS'  # TensorFlow's own


def wanted() -> int:
  """Returns how many threads an operation shall have."""
  given = os.environ.get(_VARIABLE, '')
  return int(given) if given.isdecimal() and int(given) else 1


def environment() -> dict[str, str]:
  """Returns the variables for a process of this one's with TensorFlow in it."""
  return {**os.environ, _VARIABLE: str(wanted())}


def pin() -> None:
  """Has operations take as many threads as are wanted, unless TensorFlow has started with another number."""
  import tensorflow as tf

  with contextlib.suppress(RuntimeError):
    tf.config.threading.set_intra_op_parallelism_threads(wanted())


def in_use() -> int:
  """Returns how many threads operations of this process have; 0 for one for each core of the machine."""
  if 'tensorflow' not in sys.modules:
    return wanted()
  return sys.modules['tensorflow'].config.threading.get_intra_op_parallelism_threads()
