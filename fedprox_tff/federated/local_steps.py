# SPDX-License-Identifier: Apache-2.0
"""The local steps of one client: from the weights that it gets to the algorithm's report.

Step i uses the rows that the client's payload names: batch i mod S of epoch i div S, S = ceil(n_k / B). The algorithm
says what a step descends, and the client optimizer applies it. No gradient moves the running statistics of
normalisation layers: they follow the batches.

A client's gamma-inexactness (Li et al., arXiv:1812.06127, Definition 2) is, at its final w and over all its examples,
||grad h_k(w; w^t)|| / ||grad h_k(w^t; w^t)||: 0 for an exact minimiser of h_k, 1 for no work. It costs two passes.
"""

import collections
import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, Local, Report, step_of
from fedprox_tff.core import batches, draws, tree
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.local_model import LocalModel, Pass

_LARGE = 256  # numbers in an array from which on it matters how XLA writes it


class GradientRule(NamedTuple):
  """What becomes of every gradient of a batch before a method sees it, the same for all methods."""

  clip_norm: float | None = None  # the L2 norm over all weights that it is cut down to; None: it is not cut
  l2: float = 0.0  # then l2 w is added, the gradient of l2/2 ||w||^2: the weight decay of plain SGD


AS_IT_IS = GradientRule()

# (what came from the server and from the client itself, weights that do not learn, hyperparameters, examples, context)
# -> the report, and gamma (a scalar; 0 if it is not measured)
LocalSteps = Callable[[Local, Weights, Any, Any, Any], tuple[Report, tf.Tensor]]


def build_local_steps(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  *,
  rule: GradientRule = AS_IT_IS,
  measure_gamma: bool = False,
) -> LocalSteps:
  """Returns the function that a client runs; called in the graph of the client's computation."""
  run_block = _build_block(algorithm, model, optimizer, rule)
  build_gradient = functools.cache(model.build_gradient)  # TFF's variable models then create their variables, if at all

  def run_local_steps(received, non_trainable, hparams, rows, context):
    examples = AllExamples(
      _over_all_examples(model, build_gradient, rule, non_trainable=non_trainable, examples=rows, context=context),
      _losses(model, max(1, algorithm.needs.components), non_trainable, rows, context),
    )
    received = received._replace(normalisation=model.normalisation, task_layers=model.task_layers)
    start = algorithm.client.start(received, examples, hparams)
    first = received._replace(weights=start.weights, constants=start.constants, scratch=start.scratch)

    num_steps_of_block = batches.block(tf.shape(context['order'])[1], tf.minimum, tf.maximum)

    def run_next_block(first_step, state):
      order = context['order'][first_step : first_step + num_steps_of_block]
      block = {
        'first_step': first_step,
        'end': tf.minimum(context['num_steps'], first_step + num_steps_of_block),
        'num_examples': context['num_examples'],
        'rows': order,
        'example_weights': _weights_of(order, start.example_weights, context),
      }
      if model.draws:
        block['key'] = context['key']
      frozen = {
        'round': (first.anchor, first.message, first.state, first.constants),
        'non_trainable': non_trainable,
        'hparams': hparams,
        'examples': rows,
      }
      return block['end'], run_block(block, frozen, state)['state']

    optimizer_state = optimizer.initialize(specs_of(received.anchor))
    optimizer_hparams = collections.OrderedDict(
      (name, hparams[name]) for name in optimizer.get_hparams(optimizer_state)
    )
    _, (weights, scratch, _) = tf.while_loop(
      lambda first_step, _: first_step < context['num_steps'],
      run_next_block,
      (tf.constant(0), (first.weights, first.scratch, optimizer.set_hparams(optimizer_state, optimizer_hparams))),
      parallel_iterations=1,
    )
    last = first._replace(weights=weights, scratch=scratch, num_steps=context['num_steps'])
    report = algorithm.client.finish(last, examples, hparams)
    return report, _gamma(first, last, examples, hparams) if measure_gamma else tf.constant(0.0)

  def _gamma(first, last, examples, hparams):
    """Returns the ratio of the norms, after and before, of the gradient of what the client minimises."""
    norms = [tf.linalg.global_norm(algorithm.client.gradient(local, examples, hparams)) for local in (last, first)]
    return tf.math.divide_no_nan(*norms)

  return run_local_steps


class AllExamples(NamedTuple):
  """What a client can ask of all its examples, `algorithms.base.Examples`.

  A method's `gradient` takes it in the place of a batch, to measure gamma.
  """

  gradient: Callable[[Weights], Weights]
  losses: Callable[[Weights], tf.Tensor] | None  # None: the model knows only the mean loss of a batch


def _over_all_examples(
  model, build_gradient, rule, *, non_trainable, examples, context
) -> Callable[[Weights], Weights]:
  """Returns the gradient of a client's whole risk F_k as a function of the weights."""
  first, num_examples = context['first_row'], context['num_examples']

  def gradient_of(weights):
    batch_gradient = build_gradient()
    own = tf.nest.map_structure(lambda array: array[first : first + num_examples], examples)
    num_labels = model.num_labels(own, num_examples)

    def add(start, total):
      count = tf.minimum(model.chunk, num_examples - start)
      batch = tf.nest.map_structure(lambda array: array[first + start : first + start + count], examples)
      share = model.num_labels(batch, count) / num_labels
      gradient = batch_gradient(weights, non_trainable, batch, count)
      return start + count, tree.add(total, tree.scale(share, gradient))

    start = (tf.constant(0), tuple(tf.zeros_like(w) for w in weights))
    gradient = tf.while_loop(lambda start, _: start < num_examples, add, start, parallel_iterations=1)[1]
    return _decayed(gradient, weights, rule, model.statistics)

  return gradient_of


def _losses(
  model: LocalModel, num_components: int, non_trainable, examples, context
) -> Callable[[Weights], tf.Tensor] | None:
  """Returns the losses of a client's examples in each component model, [n_k, M], as a function of the weights."""
  if model.losses is None:
    return None
  first, num_examples = context['first_row'], context['num_examples']
  num_chunks = (num_examples + model.chunk - 1) // model.chunk

  def losses_of(weights):
    def of_chunk(chunk):
      start = first + chunk * model.chunk
      end = tf.minimum(start + model.chunk, first + num_examples)
      losses = model.losses(weights, non_trainable, tf.nest.map_structure(lambda array: array[start:end], examples))
      return tf.pad(losses, [[0, model.chunk - tf.shape(losses)[0]], [0, 0]])

    spec = tf.TensorSpec([model.chunk, num_components], tf.float32)
    chunks = tf.map_fn(of_chunk, tf.range(num_chunks), fn_output_signature=spec, parallel_iterations=1)
    return tf.reshape(chunks, [-1, num_components])[:num_examples]

  return losses_of


def _weights_of(rows, example_weights, context):
  """Returns the example weights of some local steps, [steps, batch, M], for the block; () if there are none."""
  if example_weights is None:
    return ()
  places = tf.clip_by_value(rows - context['first_row'], 0, tf.maximum(context['num_examples'], 1) - 1)  # padding is 0
  return tf.gather(example_weights, places)


def _build_block(
  algorithm: Algorithm, model: LocalModel, optimizer: tff.learning.optimizers.Optimizer, rule: GradientRule
):
  """Returns the function that takes the local steps of a block: XLA compiles it once for each width of batches."""
  step_pass = model.build_step()

  @tf.function(jit_compile=model.jit_compile)
  def run_block(block, frozen, state):
    hparams, rows = frozen['hparams'], block['rows']
    batch_size = tf.shape(rows)[1]
    steps_per_epoch = (block['num_examples'] + batch_size - 1) // batch_size
    anchor, message, client_state, constants = frozen['round']

    def step(i, state, _):
      weights, scratch, optimizer_state = state
      # Gathered, not sliced: XLA takes a slice's bounds for constants, and would compile anew for each of their values.
      place = i - block['first_step']
      step_rows = tf.gather(rows, place)
      batch = tf.nest.map_structure(lambda array: _gather(array, step_rows), frozen['examples'])
      count = tf.minimum(batch_size, block['num_examples'] - i % steps_per_epoch * batch_size)
      example_weights = tf.gather(block['example_weights'], place) if tf.is_tensor(block['example_weights']) else None
      # All weights that a method tries on a batch meet the same random numbers.
      key = draws.fold(block['key'], i) if model.draws else None

      def pass_at(at):
        return step_pass(at, frozen['non_trainable'], batch, count, example_weights=example_weights, key=key)

      passes = _BatchPasses(pass_at, rule, model.statistics)
      local = Local(
        weights,
        anchor,
        message,
        client_state,
        constants,
        scratch=scratch,
        num_steps=i,
        normalisation=model.normalisation,
        task_layers=model.task_layers,
      )
      direction, new_scratch = step_of(algorithm, local, passes, hparams)
      new_optimizer_state, new_weights = optimizer.next(optimizer_state, weights, direction)
      new_state = (passes.move_statistics(weights, new_weights), new_scratch, new_optimizer_state)
      return i + 1, new_state, _apart(state, new_state)

    start = (block['first_step'], state, tf.constant(0.0))
    _, state, apart = tf.while_loop(lambda i, *_: i < block['end'], step, start, parallel_iterations=1)
    return {'state': state, 'apart': apart}

  return run_block


class _BatchPasses:
  """Passes of the model over the batch of one step, each set of weights once: `algorithms.base.Batch`."""

  def __init__(self, pass_at, rule, statistics):
    self._pass_at, self._rule, self._statistics = pass_at, rule, statistics
    self._passes: list[tuple[Weights, Any]] = []

  def _at(self, weights: Weights):
    for known, result in self._passes:
      if all(a is b for a, b in zip(known, weights, strict=True)):
        return result
    self._passes.append((weights, _ruled(self._pass_at(weights), weights, self._rule, self._statistics)))
    return self._passes[-1][1]

  def gradient(self, at: Weights) -> Weights:
    """Returns the gradient of the batch's mean loss."""
    return self._at(at).gradient

  def move_statistics(self, before: Weights, after: Weights) -> Weights:
    """Returns `after` with the running statistics of `before`, moved on by the batch."""
    statistics = self._at(before).statistics
    return tuple(statistics.get(i, w) for i, w in enumerate(after))


def _decayed(gradient: Weights, weights: Weights, rule: GradientRule, statistics: Collection[int]) -> Weights:
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
  return result._replace(gradient=_decayed(gradient, weights, rule, statistics))


def _gather(array: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
  """Returns some rows of an array.

  As rows of a matrix: a model's own reshape then meets this one, both vanish, and XLA sees plain products of matrices,
  for which it has fast code.
  """
  flat = tf.gather(tf.reshape(array, [tf.shape(array)[0], array.shape[1:].num_elements()]), rows)
  return tf.reshape(flat, [tf.shape(rows)[0], *array.shape[1:]])


def _apart(old: Any, new: Any) -> tf.Tensor:
  """Returns a number that needs both the old and the new values of a loop, and that nobody else needs.

  XLA would write the new values over the old ones. Its loop over such an array is told to take two different arrays,
  finds out that they overlap, and falls back to one number at a time, which takes as long as the rest of the step. For
  this number's sake it writes them elsewhere, eight at a time, and copies them in one go.
  """
  pairs = zip(tf.nest.flatten(old), tf.nest.flatten(new), strict=True)
  large = [(a, b) for a, b in pairs if a.shape.num_elements() >= _LARGE]
  return sum((a[(0,) * a.shape.rank] - b[(0,) * b.shape.rank] for a, b in large), start=tf.constant(0.0))


def specs_of(weights: Any) -> Any:
  """Returns the shapes and types of weights."""
  return tf.nest.map_structure(lambda w: tf.TensorSpec(np.shape(w), w.dtype), weights)
