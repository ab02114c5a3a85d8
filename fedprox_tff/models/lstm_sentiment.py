# SPDX-License-Identifier: Apache-2.0
"""The stacked LSTM of FedProx for Sent140 (Li et al., MLSys 2020, Appendix C.1): is a text positive or negative?

Vectors of words that do not learn, two LSTMs of 100 units each, and from the last place's hidden state a dense layer of
30 units, without an activation as in the authors' code, and one of a single unit z with a sigmoid: 243,861 parameters
with vectors of 300 numbers. Texts end in padding, so z is of a state that has read it, as theirs is.

The sigmoid's cross-entropy of z is the softmax's of the two logits 0 and z.
"""

from typing import Annotated

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models import recurrent
from fedprox_tff.models.base import Architecture, Model, glorot_uniform

_DENSE_UNITS = 30


def lstm_sentiment(
  *,
  embedding_size: Annotated[int, (1, None)] = 50,
  hidden_units: Annotated[int, (1, None)] = 100,
  num_layers: Annotated[int, (1, None)] = 2,
) -> Architecture:
  """Returns the network for texts of two classes.

  Where the task brings no vectors of words, an embedding learns: the paper has none.

  Args:
    embedding_size: Numbers that an embedding learns for each word, where the data set brings no vectors.
    hidden_units: Units of each LSTM layer.
    num_layers: Number of LSTM layers.
  """

  def build(task: Task, *, seed: int) -> Model:
    if task.num_classes != 2 or task.label_shape:
      classes = 'a class at each of its places' if task.label_shape else f'{task.num_classes} classes'
      raise ValueError(f'The model lstm_sentiment tells two classes of texts apart, not {classes}.')
    rng = streams.generator('model', seed)
    layers = recurrent.initial_layers(
      'lstm_sentiment', task, rng, embedding_size=embedding_size, hidden_units=hidden_units, num_layers=num_layers
    )
    weights = list(layers)
    for shape in ((hidden_units, _DENSE_UNITS), (_DENSE_UNITS, 1)):
      weights += [glorot_uniform(rng, shape), np.zeros(shape[1], np.float32)]
    return recurrent.model('lstm_sentiment', task, tuple(weights), num_layers, _head)

  return Architecture('lstm_sentiment', 'LSTM', build)


def _head(weights, h):
  import tensorflow as tf

  kernel_1, bias_1, kernel_2, bias_2 = weights
  z = (h @ kernel_1 + bias_1) @ kernel_2 + bias_2
  return tf.concat([tf.zeros_like(z), z], axis=1)
