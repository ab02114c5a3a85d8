# SPDX-License-Identifier: Apache-2.0
"""Any federation in the JSON layout of LEAF (Caldas et al., arXiv:1812.01097), which FedProx's own data are in too.

A folder `train` and a folder `test`, each with one or more .json files of

  {"users": [u, ...], "num_samples": [n_u, ...], "user_data": {u: {"x": [...], "y": [...]}, ...}}

Other keys are not read. Features must be numbers in the same nested shape for every example, and stay in that shape: a
flat image stays flat. Labels must be whole numbers from 0. Users come in the order of the files, the files in that of
their names, and a user's examples are for training or testing as the files say. A user without test examples is kept;
one without training examples, as LEAF's split by user makes them, is refused.
"""

import collections
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import base

KEYS = ('users', 'num_samples', 'user_data')
LARGEST_LABEL = 99_999  # a model has weights for each class up to the largest: a larger label is a mistake
_LARGEST_NUMBER = float(np.finfo(np.float32).max)


def leaf(*, data_dir: str | None = None) -> base.DataSet:
  """Returns the federation in the folder `data_dir`; x keeps the shape [n, ...] that it has in the files.

  The paper has no learning rate for a federation that it does not know: this is the smallest of its convex ones.

  Args:
    data_dir: Folder that holds `train` and `test`.
  """
  if not data_dir:
    missing = '--dataset=leaf needs --data_dir, a folder that holds train/*.json and test/*.json.'
    return base.DataSet('leaf', 'LEAF', 0.01, lambda partition: _require(False, missing), missing=missing)
  folder = pathlib.Path(os.path.realpath(os.path.expanduser(data_dir))).name
  return base.DataSet('leaf', folder, 0.01, lambda partition: _read_folder(data_dir), folder=folder)


def _read_folder(data_dir: str) -> base.FederatedDataset:
  root = base.data_folder(data_dir)
  train, test = {}, {}
  for part, users in (('train', train), ('test', test)):
    for path in _json_files(os.path.join(root, part)):
      for user, examples in _read(path):
        where = f'{path}: user {user!r}'
        _require(user not in users, f'{where} is in {part} twice.')
        users[user] = examples
        _require(user in train, f'{where} is not in train: split by sample, not by user.')
        _require(len(train[user].y), f'{where} has nothing to train on.')
        shape, expected = examples.x.shape[1:], next(iter(train.values())).x.shape[1:]
        _require(shape == expected or not len(examples.y), f'{where} has x of shape {shape}, others of {expected}.')
  _require(train, f'{root} has no users.')

  first = next(iter(train.values()))
  nothing = base.Examples(first.x[:0], first.y[:0])
  train_split = base.split_from_clients(list(train.values()))
  tested = {user: examples for user, examples in test.items() if len(examples.y)}
  test_split = base.split_from_clients([tested.get(user, nothing) for user in train])
  return base.FederatedDataset(
    name='leaf',
    client_ids=tuple(train),
    train=train_split,
    test=test_split,
    num_classes=1 + max(int(split.examples.y.max(initial=0)) for split in (train_split, test_split)),
    source=f'{root}, in the format of LEAF',
  )


def _json_files(folder: str) -> list[str]:
  _require(os.path.isdir(folder), f'{folder} is not a folder: --data_dir must hold train/*.json and test/*.json.')
  paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.json'))
  _require(paths, f'{folder} holds no .json file.')
  return paths


def _read(path: str) -> Iterator[tuple[str, base.Examples]]:
  """Yields the users of one file with their examples, x of shape [0] where there are none."""
  try:
    with open(path, 'rb') as file:
      content = json.load(file, object_pairs_hook=_object)
  except RecursionError:
    raise DataError(f'{path} cannot be read as JSON: it is nested too deeply.') from None
  except (OSError, ValueError) as error:
    raise DataError(f'{path} cannot be read as JSON: {error}.') from error
  missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
  _require(not missing, f'{path} has no {", ".join(missing)}.')
  users, counts, user_data = (content[key] for key in KEYS)
  lists = isinstance(users, list) and isinstance(counts, list) and len(users) == len(counts)
  _require(lists, f'{path}: users and num_samples are not two lists of the same length.')
  _require(isinstance(user_data, dict), f'{path}: user_data is not an object.')
  listed = {str(user) for user in users}
  _require(len(listed) == len(users), f'{path}: users has a user twice.')
  for user, count in zip(users, counts, strict=True):
    where = f'{path}: user {user!r}'
    _require(type(count) is int, f'{where}: num_samples says {count!r}, where a whole number is needed.')
    entry = user_data.get(str(user))
    _require(isinstance(entry, dict) and {'x', 'y'} <= entry.keys(), f'{where} has no x and y in user_data.')
    x, y = _numbers(entry['x'], f'{where}: x'), _numbers(entry['y'], f'{where}: y')
    _require(y.ndim == 1, f'{where}: y has lists for labels, such as one-hot ones; whole numbers are needed.')
    _require(len(x) == len(y) == count, f'{where} has {len(x)} x and {len(y)} y, but num_samples says {count}.')
    _require(x.ndim > 1 or not count, f'{where}: x has bare numbers for examples, not lists of them.')
    _require(x.size or not count, f'{where}: x has no features.')
    _require(np.all((y >= 0) & (y == np.floor(y))), f'{where}: y are not all whole numbers from 0.')
    largest = y.max(initial=0)
    _require(largest <= LARGEST_LABEL, f'{where}: y has the label {largest:.0f}; at most {LARGEST_LABEL} is allowed.')
    yield str(user), base.Examples(x.astype(np.float32), y.astype(np.int32))
  others = [user for user in user_data if user not in listed]
  _require(not others, f'{path}: user {others[0] if others else ""!r} is in user_data and not in users.')


def _numbers(values, what: str) -> np.ndarray:
  try:
    array = np.asarray(values)
  except ValueError:  # lists of unequal lengths
    array = np.empty(1, object)
  _require(array.dtype.kind not in 'US', f'{what} is text; numbers are needed, such as the places in a vocabulary.')
  numeric = array.ndim > 0 and array.dtype.kind in 'iuf' and np.isfinite(array).all()
  _require(numeric, f'{what} has lists of unequal lengths, or something other than finite numbers.')
  fits = np.abs(array).max(initial=0) <= _LARGEST_NUMBER
  _require(fits, f'{what} has a number beyond {_LARGEST_NUMBER:.2g}, which is infinite in float32.')
  return array


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """Makes a JSON object; of a key that is there twice, Python would take the later value without a word."""
  made = dict(pairs)
  if len(made) < len(pairs):
    ((key, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
    raise ValueError(f'an object has the key {key!r} twice')
  return made


def _require(holds, message: str):
  if not holds:
    raise DataError(message)
