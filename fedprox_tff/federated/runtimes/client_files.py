# SPDX-License-Identifier: Apache-2.0
"""Clients' examples in files, for TFF's worker to read.

A payload holds a client's examples, and TFF sends it anew in each round: arrays travel as the graph of a data set that
has all their bytes in it. But the graph of a data set that reads a file is small, whatever lies there, and the worker
is on this machine.
"""

import collections
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from fedprox_tff.datasets.base import Examples

_VERSION = 2  # of the files that `tf.data.Dataset.save` writes: records, each a tensor


class Shards:
  """A folder with the examples of each client that was asked for; it is gone after the block.

  A client is written when it is first asked for, as a run meets few clients of a large federation, and as it is, so
  that the worker trains on the same bits: standardised pixels would not come back from a byte each.

  The files are those of `tf.data.Dataset.save`, for the sake of their reader. Any other way from a file to numbers goes
  through `map`, and the worker optimizes a mapped function anew in each round, then keeps it: 0.1 MB each time.
  """

  def __init__(
    self,
    examples: Examples | Mapping[str, np.ndarray],
    offsets: np.ndarray,
    *,
    folder: str | pathlib.Path | None = None,
  ):
    """Makes the folder.

    Args:
      examples: The examples of all clients, one client after another, along the first axis of arrays or tensors.
      offsets: Client k holds the rows offsets[k] to offsets[k + 1].
      folder: Where to make it. None: where temporary files go, `$TMPDIR` or `/tmp`.
    """
    self._examples = collections.OrderedDict(examples if isinstance(examples, Mapping) else examples._asdict())
    self._offsets = offsets
    self._spec = tf.nest.map_structure(lambda rows: tf.TensorSpec([None, *rows.shape[1:]], rows.dtype), self._examples)
    self._datasets: dict[int, tf.data.Dataset] = {}
    self._folder = tempfile.TemporaryDirectory(prefix='fedprox_tff_shards_', dir=folder)

  def __enter__(self) -> 'Shards':
    return self

  def __exit__(self, *error: Any) -> None:
    self._folder.cleanup()

  def dataset(self, client_index: int) -> tf.data.Dataset:
    """Returns a data set of one element, all of a client's examples, for `examples` in the client's payload."""
    if client_index not in self._datasets:
      path = pathlib.Path(self._folder.name, str(client_index))
      rows = slice(*self._offsets[client_index : client_index + 2])
      _write(path, [array[rows] for array in tf.nest.flatten(self._examples)])
      self._datasets[client_index] = _reader(path, self._spec)
    return self._datasets[client_index]


def _write(path: pathlib.Path, arrays: list[np.ndarray]) -> None:
  """Writes one element, its arrays in the order of `tf.nest`."""
  path.mkdir()
  with tf.io.TFRecordWriter(str(path / '00000000.snapshot')) as writer:
    for array in arrays:
      writer.write(tf.io.serialize_tensor(array).numpy())


def _reader(path: pathlib.Path, spec: Any) -> tf.data.Dataset:
  """Returns the data set of what `_write` wrote."""
  leaves = tf.nest.flatten(spec)
  variant = tf.raw_ops.SnapshotDatasetReader(
    shard_dir=str(path),
    start_index=0,
    output_types=[leaf.dtype for leaf in leaves],
    output_shapes=[leaf.shape for leaf in leaves],
    compression='',
    version=_VERSION,
  )
  options = tf.data.Options()
  options.experimental_optimization.apply_default_optimizations = False  # they take a reader for a constant, and fail
  return tf.data.experimental.from_variant(variant, spec).with_options(options)
