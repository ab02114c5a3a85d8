# SPDX-License-Identifier: Apache-2.0
"""A user's own arrays, in one .npz file as `numpy.savez` writes it.

  x       [n, ...]  the examples: numbers; uint8 stays as it is in memory, and a network sees it divided by 255
  y       [n]       their labels, whole numbers from 0
  client  [n]       whose each is: whole numbers or text. Clients come in the order of these, sorted

`x_test`, `y_test` and `client_test` are the test examples, all three or none. Without them each client keeps the first
floor(0.9 n_k) of its examples, in the order of the file, for training. A client may be without test examples, but not
without training examples. Other arrays in the file are not read. x of three dimensions is a set of images without an
axis of channels: [n, height, width] becomes [n, height, width, 1].
"""

import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from fedprox_tff.core.errors import DataError, UserError, line_of
from fedprox_tff.core.task import FEATURES, Inputs
from fedprox_tff.datasets import base
from fedprox_tff.datasets.leaf import LARGEST_LABEL
from fedprox_tff.datasets.rows import take

TRAIN, TEST = ('x', 'y', 'client'), ('x_test', 'y_test', 'client_test')
_LARGEST_NUMBER = float(np.finfo(np.float32).max)


def npz(*, npz_file: str | None = None) -> base.DataSet:
  """Returns the federation in a file of arrays; x has the shape that it has there.

  The paper has no learning rate for a federation that it does not know: this is the smallest of its convex ones.

  Args:
    npz_file: File of the arrays x, y and client, and x_test, y_test and client_test if one likes.
  """
  if not npz_file:
    missing = '--dataset=npz needs --npz_file, a file of the arrays x, y and client.'
    return base.DataSet('npz', 'npz', 0.01, lambda partition: _require(False, missing), missing=missing)
  name = pathlib.Path(os.path.expanduser(npz_file)).stem
  return base.DataSet('npz', name, 0.01, lambda partition: _read(npz_file), folder=name)


def _read(npz_file: str) -> base.FederatedDataset:
  path = os.path.expanduser(npz_file)
  if not os.path.isfile(path):
    raise UserError(f'--npz_file={npz_file} is not a file.')
  arrays = _arrays(path)
  train, owners = _examples(path, arrays, TRAIN)
  ids, clients = np.unique(owners, return_inverse=True)
  rows = _rows_of_clients(clients, len(ids))
  if TEST[0] in arrays:
    test, test_owners = _examples(path, arrays, TEST)
    _require(
      test.x.shape[1:] == train.x.shape[1:] and test.x.dtype == train.x.dtype,
      f'{path}: x_test has examples of {test.x.dtype} {test.x.shape[1:]}, x of {train.x.dtype} {train.x.shape[1:]}.',
    )
    same = (test_owners.dtype.kind == 'U') == (owners.dtype.kind == 'U')
    _require(same, f'{path}: client and client_test are not both text or both whole numbers.')
    for stranger in test_owners[~np.isin(test_owners, ids)]:
      raise DataError(f'{path}: {stranger} is in client_test and not in client, and so has nothing to train on.')
    test_rows = _rows_of_clients(np.searchsorted(ids, test_owners), len(ids))
  else:
    test = train
    test_rows = [each[base.train_size(len(each)) :] for each in rows]
    rows = [each[: base.train_size(len(each))] for each in rows]
    for name, each in zip(ids, rows, strict=True):
      _require(len(each), f'{path}: {name} in client has one example, and needs one to train on and one to test on.')
  return base.FederatedDataset(
    name='npz',
    client_ids=tuple(map(str, ids)),
    train=take(train, rows),
    test=take(test, test_rows),
    num_classes=1 + int(max(train.y.max(), test.y.max(initial=0))),
    source=path,
    inputs=_inputs(train.x),
  )


def _arrays(path: str) -> dict[str, np.ndarray]:
  """Returns the arrays of a file that are examples, labels and clients."""
  try:
    if not zipfile.is_zipfile(path):  # numpy reads other files too
      raise ValueError('it is no zip file')
    with np.load(path, allow_pickle=False) as file:  # a pickle could run any code
      names = file.files
      arrays = {name: file[name] for name in (*TRAIN, *TEST) if name in names}
  except Exception as error:  # numpy, zipfile and zlib each have their own for every kind of damage
    raise DataError(f'{path} cannot be read as a .npz file of arrays of numbers and text: {line_of(error)}.') from error
  missing = [name for name in TRAIN if name not in arrays]
  _require(not missing, f'{path} has no array {", ".join(missing)}; it has {", ".join(names) or "none"}.')
  missing = [name for name in TEST if name not in arrays]
  _require(
    len(missing) in (0, len(TEST)), f'{path} has no array {", ".join(missing)}: all three of a test part, or none.'
  )
  return arrays


def _examples(path: str, arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> tuple[base.Examples, np.ndarray]:
  """Returns the examples of a part of a file, x of uint8 or float32, and whose each is."""
  x, y, owners = (arrays[name] for name in names)
  where = f'{path}: {names[0]}'
  _require(x.dtype.kind not in 'US', f'{where} is text; numbers are needed, such as the places in a vocabulary.')
  _require(x.dtype.kind in 'biuf', f'{where} has the type {x.dtype}; real numbers are needed.')
  _require(x.ndim > 1 and x[:1].size, f'{where} has the shape {x.shape}; [examples, features] at least is needed.')
  _require(y.ndim == 1 and y.dtype.kind in 'iu', f'{path}: {names[1]} is not one whole number for each example.')
  _require(
    owners.ndim == 1 and owners.dtype.kind in 'iuU', f'{path}: {names[2]} is not a whole number or text for each.'
  )
  _require(
    len(x) == len(y) == len(owners),
    f'{path}: {len(x):,} {names[0]}, {len(y):,} {names[1]} and {len(owners):,} {names[2]}; as many of each are needed.',
  )
  least, largest = y.min(initial=0), y.max(initial=0)
  _require(
    least >= 0 and largest <= LARGEST_LABEL,
    f'{path}: {names[1]} has the label {least if least < 0 else largest}; 0 to {LARGEST_LABEL} are allowed.',
  )
  if x.dtype != np.uint8:
    fits = max(abs(float(x.max())), abs(float(x.min()))) <= _LARGEST_NUMBER  # which NaN is not either
    _require(fits, f'{where} has numbers that are not finite, or beyond {_LARGEST_NUMBER:.2g}.')
    x = x.astype(np.float32)
  return base.Examples(x[..., np.newaxis] if x.ndim == 3 else x, y.astype(np.int32)), owners


def _rows_of_clients(clients: np.ndarray, num_clients: int) -> list[np.ndarray]:
  """Returns each client's rows in the order of the file; `clients` says for each row whose it is."""
  order = np.argsort(clients, kind='stable')
  return np.split(order, np.cumsum(np.bincount(clients, minlength=num_clients))[:-1])


def _inputs(x: np.ndarray) -> Inputs:
  """Returns what x means: images if it has a height, a width and channels."""
  inputs = Inputs('images') if x.ndim == 4 else FEATURES
  if x.dtype != np.uint8:
    return inputs
  return Inputs(inputs.kind, prepare=_scale, shape=x.shape[1:])


def _scale(x: Any) -> Any:
  import tensorflow as tf

  return tf.cast(x, tf.float32) / 255


def _require(holds: Any, message: str) -> None:
  if not holds:
    raise DataError(message)
