# SPDX-License-Identifier: Apache-2.0
"""This suite's models for TFF's own builders, to compare with them."""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.models.base import Model


def functional_model(model: Model) -> tff.learning.models.FunctionalModel:
  """Returns `model` with the mean cross-entropy of a batch as TFF's `FunctionalModel`."""

  @tf.function
  def predict_on_batch(weights, x, training):
    del training
    return model.logits(weights[0], x)

  @tf.function
  def loss(output, label, sample_weight=None):
    del sample_weight
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output))

  return tff.learning.models.FunctionalModel(
    initial_weights=(model.initial_weights, ()),
    predict_on_batch_fn=predict_on_batch,
    loss_fn=loss,
    input_spec=collections.OrderedDict(
      x=tf.TensorSpec([None, *model.input_shape], tf.float32), y=tf.TensorSpec([None], tf.int32)
    ),
  )
