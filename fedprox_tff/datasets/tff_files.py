# SPDX-License-Identifier: Apache-2.0
"""The SQLite files that TensorFlow Federated keeps its federated data sets in.

A file has the table `examples (split_name, client_id, serialized_example_proto)`, of `tf.train.Example` protocol
buffers. TFF makes a `tf.data.Dataset` of each client, which takes longer than all of Shakespeare: so we read the rows.
"""

import contextlib
import os
import pathlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import sources

SUBFOLDER = 'tff_cache'  # in which a file of TFF's is looked for, beside that of the data set


def fetch(what: str, name: str, load_data: Callable[[str], object]) -> str:
  """Downloads a file into the cache, where it appears only once TFF has all of it, and returns its path.

  Args:
    what: The name of the data.
    name: The name of the file.
    load_data: `(cache_dir)` makes TFF download the file into a folder.

  Raises:
    DataError: If it cannot be had.
  """
  path = os.path.join(sources.cache_dir(), SUBFOLDER, name)
  with sources.fetching(what):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    folder = tempfile.mkdtemp(prefix='.', dir=os.path.dirname(path))
    try:
      load_data(folder)
      pathlib.Path(folder, name).replace(path)
    finally:
      shutil.rmtree(folder, ignore_errors=True)
  return path


def clients(path: str, split: str) -> list[str]:
  """Returns the names of the clients that have examples in a split, sorted.

  Raises:
    DataError: If the file cannot be read.
  """
  with connected(path) as file:
    rows = file.execute('SELECT DISTINCT client_id FROM client_metadata WHERE split_name = ?', (split,))
    return sorted(client for (client,) in rows)


def examples(path: str, split: str) -> dict[str, list[bytes]]:
  """Returns the serialized examples of each client in a split, by the clients' names, in the order of the file.

  Raises:
    DataError: If the file cannot be read.
  """
  query = 'SELECT client_id, serialized_example_proto FROM examples WHERE split_name = ? ORDER BY rowid'
  found: dict[str, list[bytes]] = {}
  with connected(path) as file:
    for client, row in file.execute(query, (split,)):
      found.setdefault(client, []).append(row)
  return found


def examples_of(path: str, split: str, client: str, most: int) -> list[bytes]:
  """Returns at most `most` serialized examples of one client in a split, in the order of the file.

  Raises:
    DataError: If the file cannot be read.
  """
  query = 'SELECT serialized_example_proto FROM examples WHERE split_name = ? AND client_id = ? ORDER BY rowid LIMIT ?'
  with connected(path) as file:
    return [row for (row,) in file.execute(query, (split, client, most))]


def texts(path: str, serialized: Sequence[bytes], feature: str) -> list[str]:
  """Returns the text that each of some examples has as a feature.

  Args:
    path: The file that they are of, for messages.
    serialized: The examples.
    feature: The feature's name.

  Raises:
    DataError: If they have no such text.
  """
  import tensorflow as tf

  if not serialized:
    return []
  try:
    parsed = tf.io.parse_example(serialized, {feature: tf.io.FixedLenFeature([], tf.string)})
  except tf.errors.InvalidArgumentError as error:
    raise DataError(f'{path} has examples without a text {feature!r}.') from error
  return [text.decode('utf-8', 'replace') for text in parsed[feature].numpy()]


@contextlib.contextmanager
def connected(path: str) -> Iterator[sqlite3.Connection]:
  """Yields a file, opened for reading.

  Raises:
    DataError: If it cannot be read, also in the block.
  """
  try:
    with contextlib.closing(sqlite3.connect(f'{pathlib.Path(path).resolve().as_uri()}?mode=ro', uri=True)) as file:
      yield file
  except sqlite3.Error as error:
    raise DataError(f"{path} cannot be read as one of TFF's SQLite files: {error}. Replace or remove it.") from error
