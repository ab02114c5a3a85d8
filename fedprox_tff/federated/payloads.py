# SPDX-License-Identifier: Apache-2.0
"""What a client is given in a round: all its examples, and how much it may do with them.

A payload is a struct of two one-element sequences, since TFF's learning processes take sequences only: `examples`, the
client's whole data padded to one of a few sizes (XLA compiles every new shape anew), and `context`, its budget, its
weight and the order of its batches. Orders are drawn here, in numpy, so that every runtime sees the same ones.
"""

import collections
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedprox_tff import streams

_SMALLEST_SIZE = 4  # batches
_GROWTH = 4  # each padded size is so many times the one before


def padded_batches(num_examples: int, batch_size: int) -> int:
  """Returns the number of batches that a client's data are padded to: 4, 16, 64, ..., and at least what it needs."""
  size = _SMALLEST_SIZE
  while size * batch_size < num_examples:
    size *= _GROWTH
  return size


def batch_order(num_examples: int, *, num_epochs: int, batch_size: int, key: tuple[int, ...]) -> np.ndarray:
  """Draws the order of a client's batches: in each epoch a fresh shuffle, cut into batches, the last one short.

  Args:
    num_examples: The client's number of examples, n_k.
    num_epochs: The number of epochs E to draw; a client with a smaller budget leaves the rest unused.
    batch_size: Examples in a batch, B.
    key: Non-negative integers that name the draw, such as (seed, round_num, client).

  Returns:
    int32 [num_epochs, padded number of batches, batch_size]: row numbers, padded with 0. Batches do not cross epochs.
  """
  rows = np.tile(np.arange(num_examples, dtype=np.int32), (num_epochs, 1))
  shuffled = streams.generator('shuffle', *key).permuted(rows, axis=1)
  batches = padded_batches(num_examples, batch_size)
  order = np.zeros((num_epochs, batches * batch_size), np.int32)
  order[:, :num_examples] = shuffled
  return order.reshape(num_epochs, batches, batch_size)


def client_payload(
  examples: Any,
  *,
  num_epochs: int,
  batch_size: int,
  key: tuple[int, ...],
  num_steps: int | None = None,
  weight: float | None = None,
) -> collections.OrderedDict[str, Any]:
  """Makes one client's part of the argument of `process.next`.

  Args:
    examples: The client's examples, as the model's input spec has them: an `OrderedDict(x=..., y=...)` or a tuple of
      arrays with the examples along the first axis, or a `tf.data.Dataset` of single examples.
    num_epochs: Epochs E for which an order of batches is drawn.
    batch_size: Examples in a batch, B; the last batch of an epoch may be short.
    key: What names the order of the batches: non-negative integers such as (seed, round_num, client).
    num_steps: The client's budget in local steps, at most E ceil(n_k / B). None: all of its E epochs. 0: it is dropped.
    weight: Its weight in the server's mean. None: its number of examples n_k, or 0 if it is dropped; never the number
      of examples that it has seen, so that a straggler keeps its share.

  Raises:
    ValueError: If the arrays differ in length, a data set has batches, or a number is out of its range.
  """
  if isinstance(examples, tf.data.Dataset):
    examples = _stack(examples)
  examples = tf.nest.map_structure(np.asarray, examples)
  num_examples = _common_length(tf.nest.flatten(examples))
  if num_epochs < 0 or batch_size < 1:
    raise ValueError(f'num_epochs={num_epochs} and batch_size={batch_size}: at least 0 and 1 are needed.')
  all_steps = num_epochs * -(-num_examples // batch_size)
  if num_steps is None:
    num_steps = all_steps
  if weight is None:
    weight = num_examples if num_steps else 0
  if not 0 <= num_steps <= all_steps:
    raise ValueError(f'num_steps={num_steps}: from 0 to the {all_steps} of {num_epochs} epochs are needed.')
  if not 0 <= weight < math.inf:
    raise ValueError(f'weight={weight}: a number of at least 0 is needed.')
  size = padded_batches(num_examples, batch_size) * batch_size
  context = collections.OrderedDict(
    num_examples=np.int32(num_examples),
    num_steps=np.int32(num_steps),
    weight=np.float32(weight),
    order=batch_order(num_examples, num_epochs=num_epochs, batch_size=batch_size, key=key),
  )
  padded = tf.nest.map_structure(lambda array: _pad(array, size), examples)
  return collections.OrderedDict(examples=[padded], context=[context])


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
