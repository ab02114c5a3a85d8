# SPDX-License-Identifier: Apache-2.0
"""What a client can ask of its examples: gradients of a batch, and of all of them together.

`BatchPasses` and `AllExamples` are `algorithms.base.Batch` and `Examples` for a method's functions. Both count the
gradients that a method asks for, so that tables can say what a method costs.
"""

import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import tensorflow as tf

from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.client_model import LocalModel, Pass, dense


class GradientRule(NamedTuple):
  """What becomes of every gradient of a batch before a method sees it, the same for all methods."""

  clip_norm: float | None = None  # the L2 norm over all weights that it is cut down to; None: it is not cut
  l2: float = 0.0  # then l2 w is added, the gradient of l2/2 ||w||^2: the weight decay of plain SGD


AS_IT_IS = GradientRule()


class Counted:
  """How many gradients a method asks for; known when its graph has been made."""

  in_a_step = 0  # of batches
  over_all_examples = 0  # in a round


class OwnExamples(NamedTuple):
  """Where a client's examples are."""

  rows: Any  # of all clients that share the arrays
  non_trainable: Weights
  first: tf.Tensor  # the client's first row
  count: tf.Tensor  # n_k


class OneBatch(NamedTuple):
  """The batch of a local step."""

  rows: Any  # the examples, and padding behind them
  count: tf.Tensor  # how many examples there are
  example_weights: tf.Tensor | None  # as in `BatchPass`
  key: tf.Tensor | None  # what the model draws from; all weights that a method tries meet the same random numbers


class BatchPasses:
  """Passes of the model over the batch of one step, each set of weights once: `algorithms.base.Batch`."""

  def __init__(
    self,
    model: LocalModel,
    step_pass: Callable[..., Pass],
    rule: GradientRule,
    batch: OneBatch,
    *,
    non_trainable: Weights,
    make_other: Callable[[], 'BatchPasses'] | None = None,
  ):
    self._model, self._step_pass, self._rule = model, step_pass, rule
    self._batch, self._non_trainable = batch, non_trainable
    self._make_other = make_other
    self._passes: list[tuple[Weights, Pass]] = []
    self._num_of_features = 0

  @functools.cached_property
  def other(self) -> 'BatchPasses':
    """Another batch of the client."""
    return self._make_other()

  @property
  def num_gradients(self) -> int:
    """How many gradients of batches have been asked for."""
    others = self.__dict__['other'].num_gradients if 'other' in self.__dict__ else 0
    return len(self._passes) + self._num_of_features + others

  def gradient(self, at: Weights) -> Weights:
    """Returns the gradient of the batch's mean loss."""
    return self._at(at).gradient

  def gradient_of(self, loss: Callable[..., tf.Tensor], at: Weights, *others: Weights) -> Weights:
    """Returns the gradient of the mean of a loss of features."""
    self._num_of_features += 1
    _, count, _, key = self._batch
    mask = tf.cast(tf.range(tf.shape(tf.nest.flatten(self._batch.rows)[0])[0]) < count, tf.float32)

    def features(weights):
      return self._model.features(weights, self._non_trainable, self._batch.rows, count=count, key=key)

    return _gradient_of(lambda *z: tf.reduce_sum(mask * loss(*z)) / tf.reduce_sum(mask), features, at, others)

  def move_statistics(self, before: Weights, after: Weights) -> Weights:
    """Returns `after` with the running statistics of `before`, moved on by the batch."""
    statistics = self._at(before).statistics
    return tuple(statistics.get(i, w) for i, w in enumerate(after))

  def _at(self, weights: Weights) -> Pass:
    for known, result in self._passes:
      if all(a is b for a, b in zip(known, weights, strict=True)):
        return result
    rows, count, example_weights, key = self._batch
    result = self._step_pass(weights, self._non_trainable, rows, count, example_weights=example_weights, key=key)
    self._passes.append((weights, _ruled(result, weights, self._rule, self._model.statistics)))
    return self._passes[-1][1]


class AllExamples:
  """All examples of a client together: `algorithms.base.Examples`.

  A method's `gradient` takes it in the place of a batch, to measure gamma.
  """

  def __init__(
    self,
    model: LocalModel,
    build: tuple[Callable[[], Any], Callable[[], Any]],
    rule: GradientRule,
    *,
    own: OwnExamples,
    num_components: int,
    counted: Counted,
  ):
    self._model, self._rule, self._own = model, rule, own
    self._build_gradient, self._build_loss = build
    self._num_components, self._counted = num_components, counted

  def gradient(self, at: Weights) -> Weights:
    """Returns the gradient of the client's whole risk F_k."""
    self._counted.over_all_examples += 1
    batch_gradient = self._build_gradient()
    zeros = tuple(tf.zeros_like(w) for w in at)
    gradient = self._mean(lambda *chunk: batch_gradient(at, self._own.non_trainable, *chunk), zeros)
    return decayed(gradient, at, self._rule, self._model.statistics)

  def loss(self, at: Weights) -> tf.Tensor:
    """Returns the client's whole risk F_k."""
    batch_loss = self._build_loss()
    (loss,) = self._mean(lambda *chunk: (batch_loss(at, self._own.non_trainable, *chunk),), (tf.constant(0.0),))
    return loss

  def gradient_of(self, loss: Callable[..., tf.Tensor], at: Weights, *others: Weights) -> Weights:
    """Returns the gradient of the mean over all examples of a loss of features."""
    self._counted.over_all_examples += 1

    def of_chunk(batch, count):
      del count

      def features(weights):
        return self._model.features(weights, self._own.non_trainable, batch)

      return _gradient_of(lambda *z: tf.reduce_mean(loss(*z)), features, at, others)

    return self._mean(of_chunk, tuple(tf.zeros_like(w) for w in at))

  def losses(self, at: Weights) -> tf.Tensor:
    """Returns the losses of the examples in each component model, [n_k, M]."""
    rows, non_trainable, first, num_examples = self._own
    chunk = self._model.chunk
    num_chunks = (num_examples + chunk - 1) // chunk

    def of_chunk(i):
      start = first + i * chunk
      end = tf.minimum(start + chunk, first + num_examples)
      losses = self._model.losses(at, non_trainable, tf.nest.map_structure(lambda array: array[start:end], rows))
      return tf.pad(losses, [[0, chunk - tf.shape(losses)[0]], [0, 0]])

    spec = tf.TensorSpec([chunk, self._num_components], tf.float32)
    chunks = tf.map_fn(of_chunk, tf.range(num_chunks), fn_output_signature=spec, parallel_iterations=1)
    return tf.reshape(chunks, [-1, self._num_components])[:num_examples]

  def _mean(self, of_chunk: Callable[[Any, tf.Tensor], Weights], zeros: Weights) -> Weights:
    """Returns the mean over labels of what `(batch, count)` gives for each chunk of the examples."""
    model, (rows, _, first, num_examples) = self._model, self._own
    own = tf.nest.map_structure(lambda array: array[first : first + num_examples], rows)
    num_labels = model.num_labels(own, num_examples)

    def add(start, total):
      count = tf.minimum(model.chunk, num_examples - start)
      batch = tf.nest.map_structure(lambda array: array[first + start : first + start + count], rows)
      share = model.num_labels(batch, count) / num_labels
      return start + count, tree.add(total, tree.scale(share, of_chunk(batch, count)))

    start = (tf.constant(0), zeros)
    return tf.while_loop(lambda start, _: start < num_examples, add, start, parallel_iterations=1)[1]


def decayed(gradient: Weights, weights: Weights, rule: GradientRule, statistics: Collection[int]) -> Weights:
  """Returns the gradient at some weights with what makes them decay; running statistics do not."""
  if not rule.l2:
    return gradient
  pairs = enumerate(zip(gradient, weights, strict=True))
  return tuple(g if i in statistics else g + rule.l2 * w for i, (g, w) in pairs)


def _ruled(result: Pass, weights: Weights, rule: GradientRule, statistics: Collection[int]) -> Pass:
  """Returns the pass of a batch at some weights with its gradient cut and decayed."""
  gradient = result.gradient
  if rule.clip_norm is not None:
    gradient = tuple(tf.clip_by_global_norm(gradient, rule.clip_norm)[0])
  return result._replace(gradient=decayed(gradient, weights, rule, statistics))


def _gradient_of(
  mean: Callable[..., tf.Tensor], features: Callable[[Weights], tf.Tensor], at: Weights, others: tuple[Weights, ...]
) -> Weights:
  """Returns the gradient at `at` of a mean of features, of which those of other weights are constants."""
  constants = [tf.stop_gradient(features(weights)) for weights in others]
  with tf.GradientTape() as tape:
    tape.watch(at)
    loss = mean(features(at), *constants)
  return dense(tape.gradient(loss, at), at)
