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
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm, Local, Report, step_of
from fedprox_tff.core import batches, draws
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.client_model import LocalModel
from fedprox_tff.federated.passes import (
  AS_IT_IS,
  AllExamples,
  BatchPasses,
  Counted,
  GradientRule,
  OneBatch,
  OwnExamples,
)

_LARGE = 256  # numbers in an array from which on it matters how XLA writes it


class Outcome(NamedTuple):
  """What comes of a client's local steps."""

  report: Report
  gamma: tf.Tensor  # 0 if it is not measured
  num_gradients: tf.Tensor  # int64: of batches; one over all examples counts as all batches of an epoch


# (what came from the server and from the client itself, weights that do not learn, hyperparameters, examples, context)
# -> what comes of it
LocalSteps = Callable[[Local, Weights, Any, Any, Any], Outcome]


def build_local_steps(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  *,
  rule: GradientRule = AS_IT_IS,
  measure_gamma: bool = False,
) -> LocalSteps:
  """Returns the function that a client runs; called in the graph of the client's computation."""
  counted = Counted()
  run_block = _build_block(algorithm, model, optimizer, rule, counted)
  # TFF's variable models create their variables when these are called, if at all.
  build_gradient, build_loss = functools.cache(model.build_gradient), functools.cache(model.build_loss)

  def run_local_steps(received, non_trainable, hparams, rows, context):
    counted.over_all_examples = 0
    examples = AllExamples(
      model,
      (build_gradient, build_loss),
      rule,
      own=OwnExamples(rows, non_trainable, context['first_row'], context['num_examples']),
      num_components=max(1, algorithm.needs.components),
      counted=counted,
    )
    steps_per_epoch = _steps_per_epoch(context['num_examples'], tf.shape(context['order'])[1])
    received = received._replace(
      budget=context['num_steps'],
      num_examples=context['num_examples'],
      steps_per_epoch=steps_per_epoch,
      normalisation=model.normalisation,
      task_layers=model.task_layers,
      head=model.head,
    )
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
        'budget': context['num_steps'],
      }
      if algorithm.needs.other_batch:
        steps = first_step + tf.range(tf.shape(order)[0])
        block['other_rows'] = tf.gather(context['order'], _next(steps, context['num_steps']))
        block['other_example_weights'] = _weights_of(block['other_rows'], start.example_weights, context)
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
    num_gradients = context['num_steps'] * counted.in_a_step + steps_per_epoch * counted.over_all_examples
    gamma = _gamma(first, last, examples, hparams) if measure_gamma else tf.constant(0.0)
    return Outcome(report, gamma, tf.cast(num_gradients, tf.int64))

  def _gamma(first, last, examples, hparams):
    """Returns the ratio of the norms, after and before, of the gradient of what the client minimises."""
    norms = [tf.linalg.global_norm(algorithm.client.gradient(local, examples, hparams)) for local in (last, first)]
    return tf.math.divide_no_nan(*norms)

  return run_local_steps


def _weights_of(rows, example_weights, context):
  """Returns the example weights of some local steps, [steps, batch, M], for the block; () if there are none."""
  if example_weights is None:
    return ()
  places = tf.clip_by_value(rows - context['first_row'], 0, tf.maximum(context['num_examples'], 1) - 1)  # padding is 0
  return tf.gather(example_weights, places)


def _next(step, num_steps):
  """Returns the local step that follows one; the first follows the last."""
  return (step + 1) % tf.maximum(num_steps, 1)


def _steps_per_epoch(num_examples, batch_size):
  return (num_examples + batch_size - 1) // batch_size


def _build_block(
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
  rule: GradientRule,
  counted: Counted,
):
  """Returns the function that takes the local steps of a block: XLA compiles it once for each width of batches."""
  step_pass = model.build_step()

  @tf.function(jit_compile=model.jit_compile, autograph=model.autograph)
  def run_block(block, frozen, state):
    hparams, rows = frozen['hparams'], block['rows']
    batch_size = tf.shape(rows)[1]
    steps_per_epoch = _steps_per_epoch(block['num_examples'], batch_size)
    anchor, message, client_state, constants = frozen['round']

    def step(i, state, _):
      weights, scratch, optimizer_state = state

      def batch_of(rows, all_weights, number):
        # Gathered, not sliced: XLA takes a slice's bounds for constants, and would compile anew for each of their
        # values.
        place = i - block['first_step']
        step_rows = tf.gather(rows, place)
        batch = tf.nest.map_structure(lambda array: _gather(array, step_rows), frozen['examples'])
        count = tf.minimum(batch_size, block['num_examples'] - number % steps_per_epoch * batch_size)
        example_weights = tf.gather(all_weights, place) if tf.is_tensor(all_weights) else None
        return OneBatch(batch, count, example_weights, draws.fold(block['key'], number) if model.draws else None)

      def other_passes():
        number = _next(i, block['budget'])
        batch = batch_of(block['other_rows'], block['other_example_weights'], number)
        return BatchPasses(model, step_pass, rule, batch, non_trainable=frozen['non_trainable'])

      batch = batch_of(rows, block['example_weights'], i)
      passes = BatchPasses(
        model, step_pass, rule, batch, non_trainable=frozen['non_trainable'], make_other=other_passes
      )
      local = Local(
        weights,
        anchor,
        message,
        client_state,
        constants,
        scratch=scratch,
        num_steps=i,
        budget=block['budget'],
        num_examples=block['num_examples'],
        steps_per_epoch=steps_per_epoch,
        normalisation=model.normalisation,
        task_layers=model.task_layers,
        head=model.head,
      )
      direction, new_scratch = step_of(algorithm, local, passes, hparams)
      counted.in_a_step = passes.num_gradients
      new_optimizer_state, new_weights = optimizer.next(optimizer_state, weights, direction)
      new_state = (passes.move_statistics(weights, new_weights), new_scratch, new_optimizer_state)
      return i + 1, new_state, _apart(state, new_state)

    start = (block['first_step'], state, tf.constant(0.0))
    _, state, apart = tf.while_loop(lambda i, *_: i < block['end'], step, start, parallel_iterations=1)
    return {'state': state, 'apart': apart}

  return run_block


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
