# SPDX-License-Identifier: Apache-2.0
"""A data set by its name, and what it loads: examples that are already split over clients, in numpy."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.core.task import FEATURES, Inputs, Task

__all__ = [
  'ALIGNMENT',
  'ClientSplit',
  'DataError',
  'DataSet',
  'Examples',
  'FederatedDataset',
  'Statistics',
  'client_ids',
  'data_folder',
  'empty_split',
  'split_from_clients',
  'train_size',
]

ALIGNMENT = 64  # bytes: where TensorFlow's tensors begin
_FIRST_TYPES = (np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.int64))


class Examples(NamedTuple):
  """Examples in one array each."""

  x: np.ndarray  # [n, ...]: features, of any type that `Inputs` or a network turns into floats; float32 mostly
  y: np.ndarray  # int32 [n]: labels; or [n, length], a label at each place, -1 where there is nothing to predict


class Statistics(NamedTuple):
  """A row of the paper's Table 1: how many examples the devices hold, training and test together."""

  devices: int
  samples: int
  mean: float  # samples per device
  stdev: float  # of the samples per device


@dataclasses.dataclass(frozen=True)
class ClientSplit:
  """The examples of all clients, one client after another, in one array: a client is a slice, never a copy."""

  examples: Examples  # of all clients, in the order of the clients
  offsets: np.ndarray  # int64 [num_clients + 1]: client k holds the rows offsets[k] to offsets[k + 1]

  @property
  def sizes(self) -> np.ndarray:
    """The number of examples n_k of each client, int64 [num_clients]."""
    return np.diff(self.offsets)

  def client(self, index: int) -> Examples:
    """Returns the examples of one client: views, not copies."""
    rows = slice(self.offsets[index], self.offsets[index + 1])
    return Examples(self.examples.x[rows], self.examples.y[rows])


@dataclasses.dataclass(frozen=True)
class FederatedDataset:
  """A data set split over clients, each with training and test examples."""

  name: str
  client_ids: tuple[str, ...]
  train: ClientSplit
  test: ClientSplit
  num_classes: int
  source: str  # one line: the files it came from, or how it was made
  paper: Statistics | None = None  # what the paper reports, where this federation is one of the paper's
  inputs: Inputs = FEATURES  # what the numbers in x mean

  @property
  def num_clients(self) -> int:
    """The number of clients, those without test examples too."""
    return len(self.client_ids)

  @functools.cached_property
  def fingerprint(self) -> str:
    """A digest of all examples and of who holds them: equal where a run on one set may go on with another."""
    digest = hashlib.blake2b(digest_size=16)
    for split in (self.train, self.test):
      for array in (split.offsets, split.examples.y, split.examples.x):
        if array.dtype not in _FIRST_TYPES:  # which runs before there were others had, without a word on it
          digest.update(f'{array.dtype}{array.shape}'.encode())
        digest.update(np.ascontiguousarray(array).data)
    if self.inputs.vectors is not None:
      digest.update(np.ascontiguousarray(self.inputs.vectors).data)
    return digest.hexdigest()

  @property
  def input_shape(self) -> tuple[int, ...]:
    """The shape of one example's features, as they are kept."""
    return self.train.examples.x.shape[1:]

  @property
  def task(self) -> Task:
    """What a network has to know of this data set."""
    shape = self.input_shape if self.inputs.shape is None else self.inputs.shape
    return Task(shape, self.num_classes, self.inputs, self.train.examples.y.shape[1:])


class DataSet(NamedTuple):
  """A data set that a run chooses by name, before anything is loaded.

  Attributes:
    name: The name on the command line.
    title: What figures and captions call it.
    learning_rate: The local learning rate that a run has if nobody sets it: the paper's, where the paper has the set.
    load: `(partition)` to the federation, a `partitions.Partition` or None. It raises `DataError` where the data cannot
      be had.
    partition: The partition that splits the examples if nobody chooses one. None: the examples come split.
    num_clients: The number of clients, where it is known before the data are loaded.
    folder: What the name of a run's folder says after the name of the data set, where that alone is not enough.
    model: The model that a run has if nobody chooses one.
    missing: One line on why it cannot be loaded so, such as a folder that the user must still name; empty if it can.
  """

  name: str
  title: str
  learning_rate: float
  load: Callable[..., FederatedDataset]
  partition: str | None = None
  num_clients: int | None = None
  folder: str = ''
  model: str = 'logistic'
  missing: str = ''


def client_ids(num_clients: int) -> tuple[str, ...]:
  """Names clients as the authors' scripts do: f_00000, f_00001, ..."""
  return tuple(f'f_{index:05d}' for index in range(num_clients))


def train_size(num_examples):
  """Returns floor(0.9 n), a client's training examples of its n; the others are its test examples.

  Every script of the authors that makes a federation cuts 90/10, though the paper's text says 80/20.

  Args:
    num_examples: n, an int or an integer array.
  """
  return 9 * num_examples // 10


def data_folder(data_dir: str) -> str:
  """Returns the folder that a user named, `~` replaced by the home folder.

  Raises:
    UserError: If it is not there. That is a mistake of the user's, for which no other data set may stand in.
  """
  folder = os.path.expanduser(data_dir)
  if not os.path.isdir(folder):
    raise UserError(f'--data_dir={data_dir} is not a folder.')
  return folder


def empty_split(
  sizes: np.ndarray,
  input_shape: tuple[int, ...],
  *,
  dtype: type[np.generic] = np.float32,
  label_shape: tuple[int, ...] = (),
) -> ClientSplit:
  """Returns a split whose client k has room for sizes[k] examples, to be written through `ClientSplit.client`.

  Args:
    sizes: n_k of each client.
    input_shape: The shape of one example's x.
    dtype: The type of x.
    label_shape: The shape of one example's y.
  """
  offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
  x = _aligned_empty((offsets[-1], *input_shape), dtype)
  return ClientSplit(Examples(x, _aligned_empty((offsets[-1], *label_shape), np.int32)), offsets)


def split_from_clients(clients: Sequence[Examples]) -> ClientSplit:
  """Concatenates the examples of clients, at least one, in their order, into a `ClientSplit`.

  x keeps its type, but that float64 becomes float32.
  """
  x, y = clients[0]
  dtype = np.float32 if x.dtype == np.float64 else x.dtype
  sizes = np.array([len(client.y) for client in clients])
  split = empty_split(sizes, x.shape[1:], dtype=dtype, label_shape=y.shape[1:])
  np.concatenate([client.x for client in clients], out=split.examples.x)
  np.concatenate([client.y for client in clients], out=split.examples.y)
  return split


def _aligned_empty(shape: Sequence[int], dtype: type[np.generic]) -> np.ndarray:
  """Returns `np.empty` at an address that TensorFlow can take over through DLPack, without a copy of its own."""
  num_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
  room = np.empty(num_bytes + ALIGNMENT, np.uint8)
  start = -room.ctypes.data % ALIGNMENT
  return room[start : start + num_bytes].view(dtype).reshape(shape)
