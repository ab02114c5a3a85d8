# SPDX-License-Identifier: Apache-2.0
"""A split over clients as `tff.simulation.datasets.ClientData`."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.datasets.base import ClientSplit


class ArrayClientData(tff.simulation.datasets.ClientData):
  """The clients of a `ClientSplit`, for TFF.

  `create_tf_dataset_for_client`, `preprocess` and the rest are TFF's. Training reads `examples`: building a
  `tf.data.Dataset` for each client of each round costs more than a small client's local work, and leaks.
  """

  def __init__(self, client_ids: tuple[str, ...], split: ClientSplit):
    self._client_ids = list(client_ids)
    self._index = {client_id: index for index, client_id in enumerate(client_ids)}
    self._split = split

  @property
  def client_ids(self) -> list[str]:
    """The names of the clients, in the order of the split."""
    return self._client_ids

  @property
  def sizes(self) -> np.ndarray:
    """The number of examples n_k of each client, int64 [num_clients]."""
    return self._split.sizes

  def examples(self, client_id: str) -> collections.OrderedDict:
    """Returns a client's examples as arrays, x [n_k, ...] and y [n_k]: views, not copies."""
    return collections.OrderedDict(self._split.client(self._index[client_id])._asdict())

  @property
  def split(self) -> ClientSplit:
    """All clients' examples, one client after another."""
    return self._split

  def create_tf_dataset_for_client(self, client_id: str) -> tf.data.Dataset:
    """Returns a client's examples, one by one."""
    if client_id not in self._index:
      raise ValueError(
        f'{client_id} is not among the {len(self._client_ids)} clients, {self._client_ids[0]} and so on.'
      )
    return tf.data.Dataset.from_tensor_slices(self.examples(client_id))

  @property
  def serializable_dataset_fn(self):
    """The same as a function that TensorFlow can trace, from a client's name to its data set."""
    ids, offsets = tf.constant(self.client_ids), tf.constant(self._split.offsets)
    examples = collections.OrderedDict(self._split.examples._asdict())

    def dataset(client_id):
      index = tf.argmax(tf.cast(ids == client_id, tf.int32))
      start, end = offsets[index], offsets[index + 1]
      return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda rows: rows[start:end], examples))

    return dataset

  @property
  def element_type_structure(self):
    """The `tf.TensorSpec`s of one example."""
    examples = collections.OrderedDict(self._split.examples._asdict())
    return tf.nest.map_structure(lambda rows: tf.TensorSpec(rows.shape[1:], rows.dtype), examples)
