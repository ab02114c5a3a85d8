# SPDX-License-Identifier: Apache-2.0
"""The stacked LSTM of FedProx for Shakespeare (Li et al., MLSys 2020, Appendix C.1), for any next letter or word.

An embedding of 8 numbers, two LSTMs of 256 units each and a dense layer from the last place's hidden state to the
classes: 817,872 parameters for 80 letters. (The paper's text gives it 100 units and Sent140's network 256; the authors'
code has them the other way round.) Where an example has a label at each place, the dense layer predicts at each.
"""

from typing import Annotated

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models import recurrent
from fedprox_tff.models.base import Architecture, Model, glorot_uniform


def lstm(
  *,
  embedding_size: Annotated[int, (1, None)] = 8,
  hidden_units: Annotated[int, (1, None)] = 256,
  num_layers: Annotated[int, (1, None)] = 2,
) -> Architecture:
  """Returns the network for texts.

  Where the task brings vectors of words, they stay as they are and no embedding learns.

  Args:
    embedding_size: Numbers that an embedding learns for each letter or word.
    hidden_units: Units of each LSTM layer.
    num_layers: Number of LSTM layers.
  """

  def build(task: Task, *, seed: int) -> Model:
    rng = streams.generator('model', seed)
    layers = recurrent.initial_layers(
      'lstm', task, rng, embedding_size=embedding_size, hidden_units=hidden_units, num_layers=num_layers
    )
    initial_weights = (
      *layers,
      glorot_uniform(rng, (hidden_units, task.num_classes)),
      np.zeros(task.num_classes, np.float32),
    )
    return recurrent.model('lstm', task, initial_weights, num_layers, head)

  def head(weights, h):
    kernel, bias = weights
    return h @ kernel + bias

  return Architecture('lstm', 'LSTM', build)
