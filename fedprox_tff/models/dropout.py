# SPDX-License-Identifier: Apache-2.0
"""Dropout (Srivastava et al., JMLR 15, 2014): in a local step, a unit is 0 with probability p, else 1/(1 - p) as large.

What a step drops is a function of the step's key: all gradients of one step lose the same units.
"""

from collections.abc import Callable
from typing import Any

from fedprox_tff.models.base import Model

Drop = Callable[[Any, int], Any]  # (the units x, the layer's number) -> x, with some of them dropped


def with_dropout(rate: float, make: Callable[[Drop], Model]) -> Model:
  """Returns a model that drops units in local steps; in evaluation nothing is dropped.

  Args:
    rate: p, from 0 to 1. With 0 the model draws nothing.
    make: From the `Drop` that its layers apply to the model. All the models it returns have the same weights.
  """
  model = make(lambda x, layer: x)
  if not rate:
    return model

  def train_logits(weights, x, mask, key):
    dropping = make(lambda units, layer: dropout(units, rate, key, layer))
    if dropping.train_logits is None:
      return dropping.step_logits(weights, x), {}
    return dropping.train_logits(weights, x, mask, key)

  return model._replace(train_logits=train_logits, draws=True)


def dropout(x: Any, rate: float, key: Any, layer: int) -> Any:
  """Returns x, with each number dropped independently.

  Args:
    x: float, of any shape.
    rate: p, from 0 to 1.
    key: The step's, int32 [2].
    layer: The number of the layer; no two layers of one network may share it, for they would drop alike.
  """
  import tensorflow as tf

  seed = tf.random.experimental.stateless_fold_in(key, layer, alg='philox')
  # Whole numbers: TensorFlow and XLA draw the same bits, but take different ones of them for a float.
  bits = tf.random.stateless_uniform(tf.shape(x), seed, minval=None, maxval=None, dtype=tf.uint32, alg='philox')
  kept = bits >= tf.constant(min(round(rate * 2**32), 2**32 - 1), tf.uint32)
  return x * (tf.cast(kept, x.dtype) * (1 / (1 - rate) if rate < 1 else 0))
