# SPDX-License-Identifier: Apache-2.0
"""A graph isomorphism network (Xu et al., ICLR 2019, arXiv:1810.00826), as FederatedScope has it for its graph task.

With A(v) the neighbours of node v and k(v) its kind, and `hidden_units` units throughout, 64 by default:

  encoder           h(v) = E[k(v)] + e
  GIN layer, twice  h(v) <- MLP(h(v) + sum of h(u) over u in A(v)),   MLP(z) = ReLU(norm(z W)) W' + b'
                    with ReLU and dropout between the layers; the layers' own epsilon is 0 and does not learn
  pooling           g = the mean of h(v) over the nodes of a graph
  classifier        ReLU(g U + u), dropout, then a linear layer to the classes

FederatedScope's MLP has another bias before the normalisation, which that takes away again, and a normalisation behind
it that nothing uses; its dropout, 0.5, is that of its default settings, which the scripts of its graph task leave as
they are. 24,834 parameters on the molecules, 256 of them running statistics; with 38 kinds of nodes it would be 23,810.

The encoder and the last linear layer are the `task_layers`: those are what FederatedScope's clients keep to themselves
where each has a task of its own.

At FederatedScope's learning rate, 0.25, the weights move faster than the running statistics follow: from round to round
the accuracy swings by several points on average, and by tens on a set with few graphs.

Most of a graph's 111 places are empty, so the network computes with the nodes of a batch alone, one after another. It
takes 4 ms a step of 64 graphs on one core; with all places it takes 17 ms, or 20 ms compiled by XLA, which needs them.
"""

from typing import Annotated, NamedTuple

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.choices import Share
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, glorot_uniform
from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm
from fedprox_tff.models.dropout import dropout as dropped


def gin(
  *,
  hidden_units: Annotated[int, (1, None)] = 64,
  num_layers: Annotated[int, (1, None)] = 2,
  dropout: Share = 0.5,
) -> Architecture:
  """Returns the network for graphs.

  Args:
    hidden_units: Units of each layer of `gin`.
    num_layers: GIN layers of `gin`: how many edges away a node's neighbours still count.
    dropout: Share of the units of `gin` that are left out in a local step.
  """

  def build(task: Task, *, seed: int) -> Model:
    if task.inputs.kind != 'graphs':
      raise ValueError(f'The model gin needs graphs, not {task.inputs.kind}.')
    rng = streams.generator('model', seed)

    def linear(num_inputs: int, num_outputs: int) -> list[np.ndarray]:
      return [glorot_uniform(rng, (num_inputs, num_outputs)), np.zeros(num_outputs, np.float32)]

    def forward(parts, x, key=None):
      import tensorflow as tf

      def drop(h, layer):
        return h if key is None else dropped(h, dropout, key, layer)

      encoder, encoder_bias, *layers = parts
      *layers, hidden, hidden_bias, output, output_bias = layers
      nodes = _nodes(x)
      h = tf.gather(encoder, nodes.kinds - 1) + encoder_bias
      for layer in range(num_layers):
        kernel_1, norm, kernel_2, bias = layers[4 * layer : 4 * layer + 4]
        if layer:
          h = tf.nn.relu(drop(h, layer))
        nothing_first = tf.pad(h, [[1, 0], [0, 0]])
        h += tf.reduce_sum(tf.gather(nothing_first, nodes.neighbours), axis=1)
        h = tf.nn.relu(norm(h @ kernel_1, nodes.owners)) @ kernel_2 + bias
      sums = tf.math.unsorted_segment_sum(h, nodes.owners, tf.shape(x)[0])
      means = sums / tf.maximum(nodes.counts, 1)[:, tf.newaxis]
      return drop(tf.nn.relu(means @ hidden + hidden_bias), num_layers) @ output + output_bias

    parts = linear(task.inputs.vocabulary - 1, hidden_units)
    for _ in range(num_layers):
      (kernel, _), normalised = linear(hidden_units, hidden_units), BatchNorm(hidden_units)
      parts += [kernel, normalised, *linear(hidden_units, hidden_units)]
    parts += [*linear(hidden_units, hidden_units), *linear(hidden_units, task.num_classes)]
    model = with_batch_norm('gin', parts, forward, task.input_shape, jit_compile=False, draws=dropout > 0)
    others = len(model.initial_weights) - 4
    return model._replace(task_layers=(True, True, *[False] * others, True, True))

  return Architecture('gin', 'GIN', build)


class _Nodes(NamedTuple):
  """The nodes of all graphs of a batch, one after another; tensors of int32 where nothing else is said."""

  counts: object  # float32 [batch]: how many nodes a graph has
  owners: object  # [nodes]: the place in the batch of the graph that a node belongs to
  kinds: object  # [nodes], from 1
  neighbours: object  # [nodes, degree]: places among these nodes, from 1, with 0 for a neighbour that is not there


def _nodes(x) -> _Nodes:
  """Returns the nodes of graphs as `Inputs` describes them, [batch, places, 1 + degree], without the empty places."""
  import tensorflow as tf

  num_places, width = x.shape[1:]
  rows = tf.reshape(tf.cast(x, tf.int32), [-1, width])
  is_node = rows[:, 0] > 0
  places = tf.cast(tf.where(is_node)[:, 0], tf.int32)
  rows, owners = tf.gather(rows, places), places // num_places
  within, numbers = rows[:, 1:], tf.cumsum(tf.cast(is_node, tf.int32))  # numbers: of each place that has a node, from 1
  neighbours = tf.gather(numbers, tf.maximum(owners[:, tf.newaxis] * num_places + within - 1, 0))
  counts = tf.reduce_sum(tf.cast(x[:, :, 0] > 0, tf.float32), axis=1)
  return _Nodes(counts, owners, rows[:, 0], tf.where(within > 0, neighbours, 0))
