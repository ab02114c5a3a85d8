# SPDX-License-Identifier: Apache-2.0
"""Random numbers inside a TensorFlow graph, each a pure function of its key: what a local step draws.

`core.streams` draws what is decided outside of graphs. A key here is an int32 [2]. One key gives the same bits in this
process, with XLA or without it, and in TFF's worker. `tf.random.stateless_uniform` of floats does not: XLA derives
another Philox key from the same seed. So the key is derived here by the operation that agrees everywhere.
"""

from typing import Any

_PHILOX = 1  # TensorFlow's number of the algorithm (Salmon et al., SC 2011)


def fold(key: Any, number: Any) -> Any:
  """Returns another key, of a key and a whole number such as that of a step or a layer."""
  import tensorflow as tf

  return tf.random.experimental.stateless_fold_in(key, number, alg='philox')


def uniform(shape: Any, key: Any) -> Any:
  """Returns float32 numbers that are uniform in [0, 1)."""
  import tensorflow as tf

  philox, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=key)
  return tf.raw_ops.StatelessRandomUniformV2(shape=shape, key=philox, counter=counter, alg=_PHILOX)
