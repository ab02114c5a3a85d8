# SPDX-License-Identifier: Apache-2.0
"""The JSON layout of LEAF (Caldas et al., arXiv:1812.01097), whatever its examples are.

A folder `train` and a folder `test`, each with one or more .json files of

  {"users": [u, ...], "num_samples": [n_u, ...], "user_data": {u: {"x": [...], "y": [...]}, ...}}

Other keys are not read. Users come in the order of the files, the files in that of their names.
"""

import collections
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import base
from fedprox_tff.datasets.base import Examples

KEYS = ('users', 'num_samples', 'user_data')
PARTS = ('train', 'test')


class Entry(NamedTuple):
  """What a file says of one user."""

  where: str  # for messages: the file and the user
  user: str
  count: int  # how many examples there are to be
  x: Any
  y: Any


def holds(folder: str) -> bool:
  """Tells whether a folder is laid out so."""
  parts = [os.path.join(folder, part) for part in PARTS]
  return all(os.path.isdir(part) and any(name.endswith('.json') for name in os.listdir(part)) for part in parts)


def read(root: str, convert: Callable[[Entry], Examples]) -> tuple[dict[str, Examples], dict[str, Examples]]:
  """Returns the training and the test examples of each user, by their names.

  Every user has something to train on; one without test examples may be missing among the second.

  Args:
    root: The folder that holds `train` and `test`.
    convert: What makes examples of an entry; it raises `DataError` if it cannot.

  Raises:
    DataError: If the files are not laid out so.
  """
  train, test = {}, {}
  for part, users in zip(PARTS, (train, test), strict=True):
    for path in _json_files(os.path.join(root, part)):
      for entry in _entries(path):
        examples = convert(entry)
        require(entry.user not in users, f'{entry.where} is in {part} twice.')
        users[entry.user] = examples
        require(entry.user in train, f'{entry.where} is not in train: split by sample, not by user.')
        require(len(train[entry.user].y), f'{entry.where} has nothing to train on.')
        shape, expected = examples.x.shape[1:], next(iter(train.values())).x.shape[1:]
        equal = shape == expected or not len(examples.y)
        require(equal, f'{entry.where} has x of shape {shape}, others of {expected}.')
  require(train, f'{root} has no users.')
  return train, test


def splits(train: Mapping[str, Examples], test: Mapping[str, Examples]) -> tuple[base.ClientSplit, base.ClientSplit]:
  """Returns the training and the test split of what `read` returns, the users in the order of `train`."""
  first = next(iter(train.values()))
  nothing = Examples(first.x[:0], first.y[:0])
  tested = {user: examples for user, examples in test.items() if len(examples.y)}
  rest = [tested.get(user, nothing) for user in train]
  return base.split_from_clients(list(train.values())), base.split_from_clients(rest)


def miscounted(entry: Entry) -> str:
  """Returns the message on an entry whose lists have not as many examples as it says."""
  return f'{entry.where} has {len(entry.x)} x and {len(entry.y)} y, but num_samples says {entry.count}.'


def require(condition: Any, message: str) -> None:
  """Raises `DataError` unless a condition holds."""
  if not condition:
    raise DataError(message)


def _json_files(folder: str) -> list[str]:
  require(os.path.isdir(folder), f'{folder} is not a folder: --data_dir must hold train/*.json and test/*.json.')
  paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.json'))
  require(paths, f'{folder} holds no .json file.')
  return paths


def _entries(path: str) -> Iterator[Entry]:
  """Yields what one file says of its users."""
  try:
    with open(path, 'rb') as file:
      content = json.load(file, object_pairs_hook=_object)
  except RecursionError:
    raise DataError(f'{path} cannot be read as JSON: it is nested too deeply.') from None
  except (OSError, ValueError) as error:
    raise DataError(f'{path} cannot be read as JSON: {error}.') from error
  missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
  require(not missing, f'{path} has no {", ".join(missing)}.')
  users, counts, user_data = (content[key] for key in KEYS)
  lists = isinstance(users, list) and isinstance(counts, list) and len(users) == len(counts)
  require(lists, f'{path}: users and num_samples are not two lists of the same length.')
  require(isinstance(user_data, dict), f'{path}: user_data is not an object.')
  listed = {str(user) for user in users}
  require(len(listed) == len(users), f'{path}: users has a user twice.')
  for user, count in zip(users, counts, strict=True):
    where = f'{path}: user {user!r}'
    require(type(count) is int, f'{where}: num_samples says {count!r}, where a whole number is needed.')
    entry = user_data.get(str(user))
    require(isinstance(entry, dict) and {'x', 'y'} <= entry.keys(), f'{where} has no x and y in user_data.')
    yield Entry(where, str(user), count, entry['x'], entry['y'])
  others = [user for user in user_data if user not in listed]
  require(not others, f'{path}: user {others[0] if others else ""!r} is in user_data and not in users.')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """Makes a JSON object; of a key that is there twice, Python would take the later value without a word."""
  made = dict(pairs)
  if len(made) < len(pairs):
    ((key, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
    raise ValueError(f'an object has the key {key!r} twice')
  return made
