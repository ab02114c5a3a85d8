# SPDX-License-Identifier: Apache-2.0
"""SQLite files as TFF has them."""

import contextlib
import os
import sqlite3
from collections.abc import Mapping, Sequence


def write(path: str | os.PathLike, splits: Mapping[str, Mapping[str, Sequence[Mapping[str, str | int]]]]) -> None:
  """Writes a file of the examples of each client in each split; an example has a text or a number for each feature."""
  import tensorflow as tf

  def feature(value):
    if isinstance(value, int):
      return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

  with contextlib.closing(sqlite3.connect(path)) as file, file:
    file.execute('CREATE TABLE examples (split_name TEXT, client_id TEXT, serialized_example_proto BLOB)')
    file.execute('CREATE TABLE client_metadata (client_id TEXT, split_name TEXT, num_examples INTEGER)')
    for split, clients in splits.items():
      for client, examples in clients.items():
        file.execute('INSERT INTO client_metadata VALUES (?, ?, ?)', (client, split, len(examples)))
        for example in examples:
          features = tf.train.Features(feature={name: feature(value) for name, value in example.items()})
          serialized = tf.train.Example(features=features).SerializeToString()
          file.execute('INSERT INTO examples VALUES (?, ?, ?)', (split, client, serialized))
