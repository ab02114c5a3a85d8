# SPDX-License-Identifier: Apache-2.0
"""The files that hold the tweets of Sentiment140 (Go, Bhayani and Huang, 2009): where they are, and what is in them.

Three layouts are read. In the first folder of `sources.places` that has any of them, the first of this order is taken:

* 'leaf': `train/*.json` and `test/*.json`, as LEAF and FedProx publish them: each x is a list of the tweet's number,
  date, query, user and text, y its label.
* 'csv': the original table, `training.1600000.processed.noemoticon.csv`, or `trainingandtestdata.zip` with that in it:
  label, number, date, query, user and text of a tweet on each line, in Latin-1.
* 'jsonl': a file `sent140_*.jsonl`, or `sent140_*.jsonl.xz`, with a list [user, label, text] on each line.

The label is 0 for a negative tweet and 4 or 1 for a positive one. The original test set, which LEAF adds to the rest,
has neutral ones too, 2, and the authors' code takes them for negative: so do we where a file has them. Of the archive
we read the training table alone, 1,600,000 of the 1,600,498 tweets.

What is nowhere is downloaded. No checksum of the archive is known to us: what comes counts as whole if it has 800,000
tweets of either label.
"""

import collections
import contextlib
import csv
import glob
import io
import json
import lzma
import os
import pathlib
import shutil
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import base, leaf_files, sources
from fedprox_tff.datasets.leaf_files import Entry, require
from fedprox_tff.machine import files

URL = 'http://cs.stanford.edu/people/alecmgo/trainingandtestdata.zip'
ZIP = 'trainingandtestdata.zip'
CSV = 'training.1600000.processed.noemoticon.csv'
NUM_TWEETS = {0: 800_000, 1: 800_000}  # of each label
SUBFOLDERS = ('sent140', os.path.join('sent140', 'data'))

_POSITIVE = {'0': 0, '2': 0, '4': 1, '1': 1}
_TEXT = 4  # the text's place in an x of LEAF


class User(NamedTuple):
  """A client's tweets.

  Attributes:
    train: For training, or all its tweets where `test` is None: x are texts, object [n], and y is 1 for a positive one.
    test: For testing; None: the file does not say.
  """

  train: base.Examples
  test: base.Examples | None = None

  @property
  def num_tweets(self) -> int:
    """How many tweets there are in all."""
    return len(self.train.y) + (0 if self.test is None else len(self.test.y))


def find(data_dir: str | None, layout: str = 'any') -> tuple[str, str] | None:
  """Returns the layout and the path of the first files that are there, or None.

  Args:
    data_dir: A folder that the user named, or None.
    layout: 'leaf', 'csv', 'jsonl' or 'any'.

  Raises:
    UserError: If `data_dir` is not a folder.
  """
  for folder in sources.places(data_dir, *SUBFOLDERS):
    for name, look in _LOOKS.items():
      path = look(folder) if layout in ('any', name) else None
      if path:
        return name, path
  return None


def read(data_dir: str | None, layout: str, least: int) -> tuple[list[User], str]:
  """Returns the users with at least `least` tweets, in the order of their names, and the path of the files.

  Args:
    data_dir: As in `find`.
    layout: As in `find`.
    least: Of a user's tweets, those for testing among them.

  Raises:
    UserError: If `data_dir` is not a folder.
    DataError: If the files cannot be had, or are not as they should be.
  """
  found = find(data_dir, layout)
  if found is None:
    wanted = {'leaf': 'train/*.json with test/*.json', 'jsonl': 'sent140_*.jsonl.xz'}.get(layout)
    require(not wanted, f'--dataset=sent140: {wanted} {sources.nowhere(data_dir, SUBFOLDERS)}')
    found = 'csv', _download()
  layout, path = found
  if layout == 'leaf':
    users = _leaf_users(path)
  else:
    rows = _csv_rows if layout == 'csv' else _jsonl_rows
    users = _users(lambda: rows(path), least)
  return [user for user in users if user.num_tweets >= least], path


def is_tweet(x: Any, y: Any) -> bool:
  """Tells whether a LEAF file's x and y, of one user with examples, are tweets and labels."""
  if not (isinstance(x, list) and isinstance(y, list) and x and y and isinstance(x[0], list)):
    return False
  return len(x[0]) > _TEXT and all(isinstance(each, str) for each in x[0]) and str(y[0]) in _POSITIVE


def from_leaf(entry: Entry) -> base.Examples:
  """Returns the texts, object [n], and the labels that a LEAF file has for a user.

  Raises:
    DataError: If it has no such.
  """
  for name, values in (('x', entry.x), ('y', entry.y)):
    require(isinstance(values, list), f'{entry.where}: {name} is no list.')
  require(len(entry.x) == len(entry.y) == entry.count, leaf_files.miscounted(entry))
  for x in entry.x:
    is_row = isinstance(x, list) and len(x) > _TEXT and isinstance(x[_TEXT], str)
    require(is_row, f'{entry.where}: x has something other than lists of a number, date, query, user and text.')
  for y in entry.y:
    require(str(y) in _POSITIVE, f'{entry.where}: y has the label {y!r}; 0, 1, 2 or 4 is needed.')
  return _tweets([(_POSITIVE[str(y)], x[_TEXT]) for x, y in zip(entry.x, entry.y, strict=True)])


def _leaf_users(path: str) -> list[User]:
  train, test = leaf_files.read(path, from_leaf)
  nothing = _tweets([])
  return [User(train[name], test.get(name, nothing)) for name in sorted(train)]


def _users(rows: Callable[[], Iterator[tuple[str, int, str]]], least: int) -> list[User]:
  """Returns users with enough tweets, of rows of a user, a label and a text: twice read, to keep only theirs."""
  counts = collections.Counter(user for user, _, _ in rows())
  tweets: dict[str, list[tuple[int, str]]] = {user: [] for user in sorted(counts) if counts[user] >= least}
  for user, label, text in rows():
    if user in tweets:
      tweets[user].append((label, text))
  return [User(_tweets(each)) for each in tweets.values()]


def _tweets(pairs: list[tuple[int, str]]) -> base.Examples:
  texts = np.empty(len(pairs), object)
  texts[:] = [text for _, text in pairs]
  return base.Examples(texts, np.array([label for label, _ in pairs], np.int32))


def _csv_rows(path: str) -> Iterator[tuple[str, int, str]]:
  number = 0
  try:
    with _open_csv(path) as file:
      for number, row in enumerate(csv.reader(file), start=1):
        require(len(row) == 6 and row[0] in _POSITIVE, f'{path}: row {number} is no label with five more columns.')
        yield row[4], _POSITIVE[row[0]], row[5]
  except (OSError, KeyError, EOFError, csv.Error, zipfile.BadZipFile) as error:
    raise DataError(f'{path} cannot be read behind row {number}: {error}. Replace or remove it.') from error


@contextlib.contextmanager
def _open_csv(path: str) -> Iterator[IO[str]]:
  if zipfile.is_zipfile(path):
    with zipfile.ZipFile(path) as archive, archive.open(CSV) as table:
      yield io.TextIOWrapper(table, 'latin-1', newline='')
  else:
    with open(path, encoding='latin-1', newline='') as table:
      yield table


def _jsonl_rows(path: str) -> Iterator[tuple[str, int, str]]:
  try:
    with lzma.open(path, 'rt', encoding='utf-8') if path.endswith('.xz') else open(path, encoding='utf-8') as file:
      for number, line in enumerate(file, start=1):
        row = json.loads(line)
        is_row = isinstance(row, list) and len(row) == 3 and str(row[1]) in _POSITIVE and isinstance(row[2], str)
        require(is_row, f'{path}: line {number} is no list of a user, a label and a text.')
        yield str(row[0]), _POSITIVE[str(row[1])], row[2]
  except (OSError, EOFError, lzma.LZMAError, ValueError, RecursionError) as error:
    raise DataError(f'{path} cannot be read: {error}. Replace or remove it.') from error


def _download() -> str:
  path = os.path.join(sources.cache_dir(), SUBFOLDERS[0], ZIP)
  with sources.fetching('Sentiment140', instead=f'{URL} is where they were published'):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with files.replacing(pathlib.Path(path)) as unfinished:
      with urllib.request.urlopen(URL) as answer, open(unfinished, 'wb') as file:
        shutil.copyfileobj(answer, file)
      labels = collections.Counter(label for _, label, _ in _csv_rows(str(unfinished)))
      require(labels == NUM_TWEETS, f'what came has {dict(labels)} tweets by their labels, not {NUM_TWEETS}')
  return path


def _look_for_leaf(folder: str) -> str | None:
  return os.path.normpath(folder) if leaf_files.holds(folder) else None


def _look_for(*names: str) -> Callable[[str], str | None]:
  def look(folder: str) -> str | None:
    paths = [path for name in names for path in sorted(glob.glob(os.path.join(glob.escape(folder), name)))]
    return next(filter(os.path.isfile, paths), None)

  return look


_LOOKS: Mapping[str, Callable[[str], str | None]] = {
  'leaf': _look_for_leaf,
  'csv': _look_for(CSV, ZIP),
  'jsonl': _look_for('sent140_*.jsonl.xz', 'sent140_*.jsonl'),
}
