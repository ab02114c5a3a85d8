# SPDX-License-Identifier: Apache-2.0
"""Random numbers inside a TensorFlow graph, each a pure function of its key: what a local step draws.

`core.streams` draws what is decided outside of graphs. A key here is an int32 [2]. One key gives the same bits in this
process, with XLA or without it, and in TFF's worker. TensorFlow's floats do not: XLA makes them of the upper bits of
Philox (Salmon et al., SC 2011), and TensorFlow's kernel of the lower ones. So they are made here, of whole numbers.
"""

from typing import Any

_BITS = 23  # of a float32's fraction


def fold(key: Any, number: Any) -> Any:
  """Returns another key, of a key and a whole number such as that of a step or a layer."""
  import tensorflow as tf

  return tf.random.experimental.stateless_fold_in(key, number, alg='philox')


def uniform(shape: Any, key: Any) -> Any:
  """Returns float32 numbers that are uniform in [0, 1)."""
  import tensorflow as tf

  bits = tf.random.stateless_uniform(shape, key, minval=None, maxval=None, dtype=tf.int32, alg='philox')
  return tf.cast(bits & (2**_BITS - 1), tf.float32) * 2.0**-_BITS
