# SPDX-License-Identifier: Apache-2.0
"""What logits are worth: the cross-entropy of examples in nats, and how many of their labels are right.

An example has one label, or one at each of its places, of which those below 0 are padding and count for nothing.
"""

from typing import NamedTuple

import tensorflow as tf


class Scores(NamedTuple):
  """Of each example, [batch]; of each in each model of a mixture, [batch, M]."""

  losses: tf.Tensor  # the sum over the example's labels
  counts: tf.Tensor | None  # float32 [batch]: how many labels it has; None where each example has one


def losses_of(logits: tf.Tensor, labels: tf.Tensor) -> Scores:
  """Returns the losses of examples.

  Args:
    logits: [batch, num_classes], or [batch, length, num_classes] where there is a label at each place; of the models of
      a mixture with an axis for these behind the first.
    labels: int32 [batch] or [batch, length].
  """
  has_places = labels.shape.rank == 2
  num_models = logits.shape[1] if logits.shape.rank == labels.shape.rank + 2 else None
  counted = labels >= 0 if has_places else None
  known = tf.maximum(labels, 0) if has_places else labels
  if num_models is not None:
    known = tf.repeat(known[:, tf.newaxis], num_models, axis=1)
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=known, logits=logits)
  if not has_places:
    return Scores(losses, None)
  mask = tf.cast(counted, tf.float32)
  losses *= mask if num_models is None else mask[:, tf.newaxis]
  return Scores(tf.reduce_sum(losses, axis=-1), tf.reduce_sum(mask, axis=-1))


def num_correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """Returns how many labels of each example have the largest logit, int32 [batch], or [batch, M] of M models.

  Args:
    logits: As in `losses_of`.
    labels: As in `losses_of`.
  """
  of_models = logits.shape.rank == labels.shape.rank + 2
  known = labels[:, tf.newaxis] if of_models else labels
  right = tf.argmax(logits, axis=-1, output_type=tf.int32) == known  # padding, -1, is nobody's
  return tf.cast(right, tf.int32) if labels.shape.rank == 1 else tf.math.count_nonzero(right, axis=-1, dtype=tf.int32)
