# SPDX-License-Identifier: Apache-2.0
"""The files that hold Shakespeare's plays by speaking role: where they are looked for, and the roles in them.

Three layouts are read. In the first folder of `sources.places` that has any of them, the first of this order is taken:

* 'leaf': `train/*.json` and `test/*.json`, as LEAF and FedProx publish their windows: `leaf_files`, `characters`.
* 'roles': a file `roles_*.jsonl`, or `roles_*.jsonl.xz`, with one object a line for each role: its lines as one text,
  {"user": u, "lines": "..."}, or its speeches, {"play": p, "role": r, "speeches": ["...", ...]}. Each line ends in a
  line break, the last one too, as in the files that LEAF's script makes of the plays. With "windows" an object says how
  many windows of every letter LEAF has made of the role, and it must be as many.
* 'tff': `shakespeare.sqlite`, TFF's file, which is also what is downloaded if nothing is found. It has each role's
  speeches already split into those for training and those for testing.
"""

import glob
import json
import lzma
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import characters, leaf_files, sources, tff_files
from fedprox_tff.datasets.base import Examples
from fedprox_tff.datasets.leaf_files import require

SUBFOLDERS = ('shakespeare', os.path.join('shakespeare', 'data'), tff_files.SUBFOLDER)
SQLITE = 'shakespeare.sqlite'
TFF_SIZES = {'train': 16_068, 'test': 2_356}  # speeches in TFF's own file, as its documentation says
# Of several files of roles the first of these is taken; else the first of all by its name.
PREFERRED = ('roles_pg100_2018_qfedavg.jsonl.xz',)


class Role(NamedTuple):
  """A client, before its windows take any memory.

  Attributes:
    name: Its name.
    train: Its windows for training, or all its windows where `test` is None, in the order of the text; views.
    test: Its windows for testing; None: the file does not say.
  """

  name: str
  train: Examples
  test: Examples | None = None

  @property
  def num_windows(self) -> int:
    """How many windows it has in all."""
    return len(self.train.y) + (0 if self.test is None else len(self.test.y))


def find(data_dir: str | None, layout: str = 'any', role_file: str | None = None) -> tuple[str, str] | None:
  """Returns the layout and the path of the first files that are there, or None.

  Args:
    data_dir: A folder that the user named, or None.
    layout: 'leaf', 'roles', 'tff' or 'any'.
    role_file: The name that a file of roles must have, or None.

  Raises:
    UserError: If `data_dir` is not a folder.
  """
  for folder in sources.places(data_dir, *SUBFOLDERS):
    for name, look in _LOOKS.items():
      path = look(folder, role_file) if layout in ('any', name) else None
      if path:
        return name, path
  return None


def read(data_dir: str | None, layout: str, role_file: str | None, stride: int) -> tuple[list[Role], str, str]:
  """Returns all roles that have a window to train on, the layout that they were in, and the path of their files.

  Args:
    data_dir: As in `find`.
    layout: As in `find`.
    role_file: As in `find`.
    stride: Every how many letters a window begins. In LEAF's layout, every how many of a role's windows is taken.

  Raises:
    UserError: If `data_dir` is not a folder.
    DataError: If the files cannot be had, or are not as they should be.
  """
  found = find(data_dir, layout, role_file)
  if found is None:
    wanted = role_file or {'leaf': 'train/*.json with test/*.json', 'roles': 'roles_*.jsonl.xz'}.get(layout)
    require(not wanted, f'--dataset=shakespeare: {wanted} {sources.nowhere(data_dir, SUBFOLDERS)}')
    found = 'tff', _download()
  layout, path = found
  roles = [role for role in _READERS[layout](path, stride) if len(role.train.y)]
  require(roles, f'{path} has no role with a text of more than {characters.LENGTH} letters.')
  return roles, layout, path


def _download() -> str:
  def load_data(cache_dir):
    import tensorflow_federated as tff

    tff.simulation.datasets.shakespeare.load_data(cache_dir=cache_dir)
    path = os.path.join(cache_dir, SQLITE)
    sizes = {split: sum(map(len, tff_files.examples(path, split).values())) for split in TFF_SIZES}
    require(sizes == TFF_SIZES, f'what came has {sizes} examples, not {TFF_SIZES}')

  return tff_files.fetch('Shakespeare', SQLITE, load_data)


def _leaf_roles(path: str, stride: int) -> Iterator[Role]:
  train, test = leaf_files.read(path, characters.from_leaf)
  nothing = Examples(*(array[:0] for array in next(iter(train.values()))))
  for user, examples in train.items():
    rest = test.get(user, nothing)
    rest = rest if len(rest.y) else nothing
    yield Role(user, *(Examples(each.x[::stride], each.y[::stride]) for each in (examples, rest)))


def _file_roles(path: str, stride: int) -> Iterator[Role]:
  seen = set()
  for number, line in enumerate(_lines(path), start=1):
    where = f'{path}: line {number}'
    try:
      role = json.loads(line)
    except (ValueError, RecursionError) as error:
      raise DataError(f'{where} is no JSON: {error}.') from error
    name, speeches = _name_and_speeches(role)
    require(name, f'{where} has no "user" with "lines", and no "play" and "role" with "speeches".')
    require(name not in seen, f'{where}: the role {name!r} is there twice.')
    seen.add(name)
    text = characters.joined(speeches)
    counted = characters.num_windows(text)
    stored = role.get('windows', counted)
    require(stored == counted, f'{where}: the role {name!r} has {counted} windows, but "windows" says {stored}.')
    yield Role(name, characters.windows(text, stride))


def _name_and_speeches(role: Any) -> tuple[str, list[str]]:
  """Returns the name and the texts of a line's object; the name is empty if it has no such things."""
  texts = {}
  if isinstance(role, Mapping):
    texts = {key: role[key] for key in ('user', 'play', 'role', 'lines') if isinstance(role.get(key), str)}
    speeches = role.get('speeches')
    if isinstance(speeches, list) and all(isinstance(speech, str) for speech in speeches) and 'lines' not in texts:
      name = f'{texts["play"]}: {texts["role"]}' if {'play', 'role'} <= texts.keys() else texts.get('user', '')
      return name, speeches
  return texts.get('user', '') if 'lines' in texts else '', [texts.get('lines', '')]


def _lines(path: str) -> Iterator[str]:
  try:
    with lzma.open(path, 'rt', encoding='utf-8') if path.endswith('.xz') else open(path, encoding='utf-8') as file:
      yield from file
  except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
    raise DataError(f'{path} cannot be read: {error}. Replace or remove it.') from error


def _tff_roles(path: str, stride: int) -> Iterator[Role]:
  train, test = (_speeches(path, split) for split in ('train', 'test'))
  for client in sorted(train):
    texts = (characters.joined(speeches.get(client, [])) for speeches in (train, test))
    yield Role(client, *(characters.windows(text, stride) for text in texts))


def _speeches(path: str, split: str) -> dict[str, list[str]]:
  """Returns the speeches of each role in a split of TFF's."""
  serialized = tff_files.examples(path, split)
  texts = tff_files.texts(path, [each for client in serialized.values() for each in client], 'snippets')
  ends = np.cumsum([len(client) for client in serialized.values()])
  return {client: texts[end - len(serialized[client]) : end] for client, end in zip(serialized, ends, strict=True)}


def _look_for_leaf(folder: str, role_file: str | None) -> str | None:
  return os.path.normpath(folder) if role_file is None and leaf_files.holds(folder) else None


def _look_for_roles(folder: str, role_file: str | None) -> str | None:
  patterns = [glob.escape(role_file)] if role_file else [*PREFERRED, 'roles_*.jsonl.xz', 'roles_*.jsonl']
  paths = [path for name in patterns for path in sorted(glob.glob(os.path.join(glob.escape(folder), name)))]
  return next(filter(os.path.isfile, paths), None)


def _look_for_sqlite(folder: str, role_file: str | None) -> str | None:
  path = os.path.join(folder, SQLITE)
  return path if role_file is None and os.path.isfile(path) else None


_LOOKS: Mapping[str, Callable[[str, str | None], str | None]] = {
  'leaf': _look_for_leaf,
  'roles': _look_for_roles,
  'tff': _look_for_sqlite,
}
_READERS: Mapping[str, Callable[[str, int], Iterator[Role]]] = {
  'leaf': _leaf_roles,
  'roles': _file_roles,
  'tff': _tff_roles,
}
