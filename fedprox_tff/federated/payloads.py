# SPDX-License-Identifier: Apache-2.0
"""What a client is given in a round: all its examples, and how much it may do with them.

A payload is a struct of one-element sequences, since TFF's learning processes take sequences only: `examples`, the
client's whole data; `context`, its budget, its weight and the rows of each of its local steps; and, for methods with
client state, `state`, what the client has kept since its last round. The rows are drawn here, in numpy, so that every
runtime sees the same ones. XLA compiles every new shape anew, so a client's own arrays are padded to one of a few
sizes; clients that share their arrays share the one shape too.
"""

import collections
import math
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from fedprox_tff.core import batches, streams

_SMALLEST_SIZE = 4  # batches
_GROWTH = 4  # each padded size is so many times the one before


def padded_batches(num_examples: int, batch_size: int) -> int:
  """Returns the number of batches that a client's data are padded to: 4, 16, 64, ..., and at least what it needs.

  Of wide batches, whose width is that of a client's data already, it is 1, 4, 16, ...
  """
  size = _SMALLEST_SIZE if batch_size <= batches.WIDE else 1
  while size * batch_size < num_examples:
    size *= _GROWTH
  return size


def batch_order(num_examples: int, *, num_epochs: int, batch_size: int, key: tuple[int, ...]) -> np.ndarray:
  """Draws the order of a client's batches: in each epoch a fresh shuffle, cut into batches, the last one short.

  Args:
    num_examples: The client's number of examples, n_k.
    num_epochs: The number of epochs to draw; those of a smaller number are the first of a larger one.
    batch_size: Examples in a batch, B.
    key: Non-negative integers that name the draw, such as (seed, round_num, client).

  Returns:
    int32 [num_epochs S, batch_size], S = ceil(n_k / B): the rows of each local step, a short batch padded with row 0.
    Batches do not cross epochs.
  """
  rows = np.tile(np.arange(num_examples, dtype=np.int32), (num_epochs, 1))
  shuffled = streams.generator('shuffle', *key).permuted(rows, axis=1)
  steps_per_epoch = batches.steps_per_epoch(num_examples, batch_size)
  order = np.zeros((num_epochs, steps_per_epoch * batch_size), np.int32)
  order[:, :num_examples] = shuffled
  return order.reshape(num_epochs * steps_per_epoch, batch_size)


def client_payload(
  examples: Any,
  *,
  num_epochs: int,
  batch_size: int | Literal['all'],
  key: tuple[int, ...],
  num_steps: int | None = None,
  weight: float | None = None,
  rows: range | None = None,
  state: tuple[Any, ...] = (),
) -> collections.OrderedDict[str, Any]:
  """Makes one client's part of the argument of `process.next`.

  Args:
    examples: The client's examples, as the model's input spec has them: an `OrderedDict(x=..., y=...)` or a tuple of
      arrays with the examples along the first axis, or a `tf.data.Dataset` of single examples.
    num_epochs: Local epochs E of a client that is on time.
    batch_size: Examples in a batch, B; the last batch of an epoch may be short. 'all': one batch of all of them.
    key: What names the order of the batches, and what else is drawn at random in local steps: non-negative integers
      such as (seed, round_num, client).
    num_steps: The client's budget in local steps, at most E ceil(n_k / B). None: all of its E epochs. 0: it is dropped.
    weight: Its weight in the server's mean. None: its number of examples n_k, or 0 if it is dropped; never the number
      of examples that it has seen, so that a straggler keeps its share.
    state: What the client keeps, for methods with client state: the initial state of `process.initial_client_state`, or
      what the round before returned. `Rounds` adds it itself.
    rows: Which of `examples` are the client's, where these stay where they are, and are neither copied nor padded:
      tensors that clients share, or a data set of one element, all of them. None: all of the arrays.

  Raises:
    ValueError: If the arrays differ in length, a data set has batches, or a number is out of its range.
  """
  shared = rows is not None
  if isinstance(examples, tf.data.Dataset) and not shared:
    examples = _stack(examples)
  if not shared:
    examples = tf.nest.map_structure(np.asarray, examples)
    rows = range(_common_length(tf.nest.flatten(examples)))
  num_examples = len(rows)
  batch_size = sys.maxsize if batch_size == batches.ALL else batch_size  # as wide as others of about its size
  if num_epochs < 0 or batch_size < 1:
    raise ValueError(f'num_epochs={num_epochs} and batch_size={batch_size}: at least 0 and 1 are needed.')
  width = batches.width(num_examples, batch_size)
  steps_per_epoch = batches.steps_per_epoch(num_examples, width)
  if num_steps is None:
    num_steps = num_epochs * steps_per_epoch
  if weight is None:
    weight = num_examples if num_steps else 0
  if not 0 <= num_steps <= num_epochs * steps_per_epoch:
    raise ValueError(
      f'num_steps={num_steps}: from 0 to the {num_epochs * steps_per_epoch} of {num_epochs} epochs are needed.'
    )
  if not 0 <= weight < math.inf:
    raise ValueError(f'weight={weight}: a number of at least 0 is needed.')
  if not shared:
    size = padded_batches(num_examples, width) * width
    examples = tf.nest.map_structure(lambda array: _pad(array, size), examples)
  epochs_begun = -(-num_steps // max(1, steps_per_epoch))
  order = batch_order(num_examples, num_epochs=epochs_begun, batch_size=width, key=key)
  context = collections.OrderedDict(
    num_examples=np.int32(num_examples),
    first_row=np.int32(rows.start),
    num_steps=np.int32(num_steps),
    weight=np.float32(weight),
    key=streams.generator('steps', *key).integers(2**31, size=2, dtype=np.int32),
    order=_pad(order + np.int32(rows.start), _round_up(len(order), batches.block(width))),
  )
  sequence = examples if isinstance(examples, tf.data.Dataset) else [examples]
  payload = collections.OrderedDict(examples=sequence, context=[context])
  if not state:
    return payload
  return collections.OrderedDict(payload, state=[state])


def without_steps(payload: collections.OrderedDict[str, Any]) -> collections.OrderedDict[str, Any]:
  """Returns a payload with a budget of no steps, but the same weight: the client has something else to send."""
  (context,) = payload['context']
  idle = collections.OrderedDict(context, num_steps=np.int32(0), order=context['order'][:0])
  return collections.OrderedDict(payload, context=[idle])


def _round_up(number: int, multiple: int) -> int:
  return -(-number // multiple) * multiple


def _common_length(arrays: Sequence[np.ndarray]) -> int:
  lengths = {len(array) for array in arrays}
  if len(lengths) != 1:
    raise ValueError(f'The arrays of a client must have one row for each example; theirs are {sorted(lengths)}.')
  return lengths.pop()


def _pad(array: np.ndarray, size: int) -> np.ndarray:
  padded = np.zeros((size, *array.shape[1:]), array.dtype)
  padded[: len(array)] = array
  return padded


def _stack(dataset: tf.data.Dataset) -> Any:
  """Returns all elements of a data set in one batch."""
  if any(spec.shape.rank is None or None in spec.shape for spec in tf.nest.flatten(dataset.element_spec)):
    raise ValueError(f'Single examples are needed, not {dataset.element_spec}; dataset.unbatch() takes batches apart.')
  elements = list(dataset.as_numpy_iterator())
  if not elements:
    return tf.nest.map_structure(
      lambda spec: np.zeros((0, *spec.shape), spec.dtype.as_numpy_dtype), dataset.element_spec
    )
  return tf.nest.map_structure(lambda *rows: np.stack(rows), *elements)
