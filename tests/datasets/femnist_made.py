# SPDX-License-Identifier: Apache-2.0
"""Small files in the two layouts of FEMNIST."""

import contextlib
import json
import pathlib
import sqlite3

import numpy as np
import tensorflow as tf

SCHEMA = """
CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL, serialized_example_proto BLOB NOT NULL);
CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL, num_examples INTEGER NOT NULL);
"""
Writer = tuple[np.ndarray, np.ndarray]  # x, float32 [n, 28, 28], and y


def writers(num_writers: int, sizes: tuple[int, int], seed: int = 0, labels: int = 62) -> tuple[dict, dict]:
  """Returns writers with their training and with their test examples; no two images are the same."""
  rng = np.random.default_rng(seed)

  def part(size: int) -> dict[str, Writer]:
    return {
      f'f{k:04d}_{seed}': (rng.random((size, 28, 28), np.float32), rng.integers(0, labels, size))
      for k in range(num_writers)
    }

  return part(sizes[0]), part(sizes[1])


def example(pixels: np.ndarray, label: int) -> bytes:
  """Serialises an example as TFF's file has it."""
  feature = {
    'pixels': tf.train.Feature(float_list=tf.train.FloatList(value=pixels.ravel())),
    'label': tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
  }
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write_sqlite(path: pathlib.Path, train: dict[str, Writer], test: dict[str, Writer]) -> None:
  """Writes TFF's file, the rows of several writers mixed."""
  rows = [
    (f'{kind}_{part}', name, example(x, label))
    for kind in ('all', 'digits_only')
    for part, of in (('train', train), ('test', test))
    for i in range(max(len(y) for _, y in of.values()))
    for name, (xs, ys) in reversed(of.items())
    for x, label in zip(xs[i : i + 1], ys[i : i + 1], strict=True)
    if kind == 'all' or label < 10
  ]
  with contextlib.closing(sqlite3.connect(path)) as file, file:
    file.executescript(SCHEMA)
    file.executemany('INSERT INTO examples VALUES (?, ?, ?)', rows)
    for part, of in (('all_train', train), ('all_test', test)):
      file.executemany(
        'INSERT INTO client_metadata VALUES (?, ?, ?)', [(name, part, len(y)) for name, (_, y) in of.items()]
      )


def write_leaf(folder: pathlib.Path, train: dict[str, Writer], test: dict[str, Writer]) -> None:
  """Writes LEAF's files."""
  for part, of in (('train', train), ('test', test)):
    content = {
      'users': list(of),
      'num_samples': [len(y) for _, y in of.values()],
      'user_data': {name: {'x': x.reshape(-1, 784).tolist(), 'y': y.tolist()} for name, (x, y) in of.items()},
    }
    (folder / part).mkdir(parents=True)
    (folder / part / 'data.json').write_text(json.dumps(content))
