# SPDX-License-Identifier: Apache-2.0
"""Loss and accuracy of the clients' own models, each on its own client's examples.

For methods that give a client a model of its own, such as FedBN, Ditto and FedEM. Client k is served by the weights
`personal(w, s_k)`, of the server's weights w and the client's state s_k. A client that has never taken part has no
state, and is served by w. Where models are adapted, s_k is the client's model itself, and all clients have one. Means
are over clients weighted by their numbers of labels, which is the mean over labels; an example has one, unless it has
one at each of its places.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated.evaluation.global_model import (
  accuracy_p10,
  count_labels,
  score_examples,
  sum_by_client,
)
from fedprox_tff.models.base import Model

_STATE_BYTES = 64 * 2**20  # of states in memory at a time: those of 1,000 clients may be gigabytes
_ANY_ROWS = tf.TensorSpec([None], tf.int32)
_ANY_SLICES = tf.TensorSpec([None, 3], tf.int32)

State = Any  # a client's: a nested tuple of float32 arrays, in the same structure and shapes for all clients


class PersonalEvaluation(NamedTuple):
  """Means over labels and a percentile over clients, each client with the weights that serve it."""

  loss: float  # cross-entropy, in nats
  accuracy: float  # share of labels that have the largest logit
  accuracy_p10: float  # 10th percentile over clients of the accuracy on their own examples, unweighted


def build_personal_evaluation(
  model: Model, personal: Callable[[Weights, State], Weights], examples: Examples, offsets: np.ndarray
) -> Callable[[Weights, Mapping[int, State]], PersonalEvaluation]:
  """Returns a function from the server's weights and the clients' states to the `PersonalEvaluation` on `examples`.

  The states are those of all clients that have ever taken part, by client index. They are read item by item, and only
  where a client has examples. The mean of no examples is NaN, and so is the percentile of no clients.

  Args:
    model: The model.
    personal: `(weights, state)` to the weights that serve a client, in TensorFlow operations.
    examples: All clients' examples, one client after another; they stay on the device.
    offsets: int [num_clients + 1]: client k's rows are offsets[k] to offsets[k + 1].
  """
  x, y = map(tf.convert_to_tensor, examples)
  sizes, chunk = np.diff(offsets), model.chunk
  labels = sum_by_client(count_labels(examples.y), offsets)

  @tf.function(autograph=model.autograph)
  def score_own(weights, states, slices):
    """Returns the sum of the losses and the number of right labels of each slice, float64 [slices, 2].

    A slice (i, start, end) is the rows start to end of the client whose state is the i-th.
    """
    num_slices = tf.shape(slices)[0]
    scores = tf.TensorArray(tf.float64, size=num_slices, element_shape=[2])

    def score(s, scores):
      i, start, end = tf.unstack(slices[s])
      own = personal(weights, tf.nest.map_structure(lambda stack: stack[i], states))
      loss, correct = score_examples(model, own, x[start:end], y[start:end])
      return s + 1, scores.write(s, tf.stack([loss, tf.cast(tf.reduce_sum(correct), tf.float64)]))

    start = (tf.constant(0), scores)
    return tf.while_loop(lambda s, _: s < num_slices, score, start, parallel_iterations=1)[1].stack()

  @tf.function(autograph=model.autograph)
  def score_server(weights, rows):
    """Returns the sum of the losses of some rows, and how many labels of each are right, int32 [rows]."""
    num_chunks = (tf.size(rows) + chunk - 1) // chunk
    correct = tf.TensorArray(tf.int32, size=num_chunks, infer_shape=False, element_shape=[None])

    def add(i, loss, correct):
      chunk_rows = rows[i * chunk : (i + 1) * chunk]
      chunk_loss, chunk_correct = score_examples(model, weights, tf.gather(x, chunk_rows), tf.gather(y, chunk_rows))
      return i + 1, loss + chunk_loss, correct.write(i, chunk_correct)

    start = (tf.constant(0), tf.constant(0.0, tf.float64), correct)
    _, loss, correct = tf.while_loop(lambda i, *_: i < num_chunks, add, start, parallel_iterations=1)
    return loss, correct.concat()

  def own_scores(weights: Weights, states: Mapping[int, State], clients: Sequence[int]) -> np.ndarray:
    """Returns the sum of the losses and the number of right labels of each client, 0 of those not in `clients`."""
    scores = np.zeros((len(sizes), 2))
    for some, stacks in _chunks(states, clients):
      slices = _slices(some, offsets, chunk)
      # Traced for any number of clients: the last chunk is smaller, and there are more of them every round.
      score = score_own.get_concrete_function(_specs(weights), _specs(stacks, any_length=True), _ANY_SLICES)
      result = score(weights, tf.nest.map_structure(tf.convert_to_tensor, stacks), tf.convert_to_tensor(slices))
      np.add.at(scores, np.array(some)[slices[:, 0]], result.numpy())
    return scores

  def server_scores(weights: Weights, served: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the sum of the losses of the clients that `served` is true of, and each one's number of right ones."""
    rows = np.flatnonzero(np.repeat(served, sizes)).astype(np.int32)
    if not rows.size:
      return 0.0, np.zeros(len(sizes))
    score = score_server.get_concrete_function(_specs(weights), _ANY_ROWS)
    loss, correct = score(weights, tf.convert_to_tensor(rows))
    return float(loss), sum_by_client(correct.numpy(), np.concatenate([[0], np.cumsum(np.where(served, sizes, 0))]))

  def evaluate(weights: Weights, states: Mapping[int, State]) -> PersonalEvaluation:
    num_labels = int(labels.sum())
    if not num_labels:
      return PersonalEvaluation(math.nan, math.nan, math.nan)
    weights = tuple(map(tf.convert_to_tensor, weights))
    has_own = np.zeros(len(sizes), bool)
    has_own[np.fromiter(states, np.int64, len(states))] = True  # `in` may read the state
    losses, num_correct = own_scores(weights, states, np.flatnonzero(has_own & (sizes > 0)).tolist()).T
    server_loss, server_correct = server_scores(weights, ~has_own)
    num_correct = num_correct + server_correct
    return PersonalEvaluation(
      float(losses.sum() + server_loss) / num_labels,
      float(num_correct.sum()) / num_labels,
      accuracy_p10(num_correct, labels),
    )

  return evaluate


def _chunks(states: Mapping[int, State], clients: Sequence[int]) -> Iterator[tuple[Sequence[int], State]]:
  """Yields the clients, as many at a time as fit into `_STATE_BYTES` or else one, with their states stacked."""
  if not clients:
    return
  like = tf.nest.map_structure(np.asarray, states[clients[0]])
  num_bytes = sum(array.nbytes for array in tf.nest.flatten(like))
  length = max(1, _STATE_BYTES // max(1, num_bytes))
  for first in range(0, len(clients), length):
    some = clients[first : first + length]
    stacks = [np.empty((len(some), *array.shape), array.dtype) for array in tf.nest.flatten(like)]
    for i, client in enumerate(some):
      for stack, array in zip(stacks, tf.nest.flatten(states[client]), strict=True):
        stack[i] = array
    yield some, tf.nest.pack_sequence_as(like, stacks)


def _slices(clients: Sequence[int], offsets: np.ndarray, chunk: int) -> np.ndarray:
  """Returns the rows of the i-th client as (i, start, end), at most `chunk` of them in one: int32 [slices, 3]."""
  bounds = [offsets[client : client + 2].tolist() for client in clients]
  return np.array(
    [(i, s, min(s + chunk, end)) for i, (start, end) in enumerate(bounds) for s in range(start, end, chunk)], np.int32
  )


def _specs(arrays: Any, *, any_length: bool = False) -> Any:
  """Returns the shapes that a function is traced for, those of the arrays; with `any_length` any size of axis 0."""
  return tf.nest.map_structure(
    lambda array: tf.TensorSpec([None, *array.shape[1:]] if any_length else array.shape, array.dtype), arrays
  )
