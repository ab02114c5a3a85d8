# SPDX-License-Identifier: Apache-2.0
"""The rows of a run for TensorBoard: one point a round, also if the run was killed and started again."""

import errno
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from fedprox_tff.machine import files

_EVENTS = 'events.out.tfevents.*'


class TensorBoard:
  """Writes rows as TensorBoard's events; a context manager."""

  def __init__(self, folder: pathlib.Path):
    """Makes a writer; nothing is written before the first row.

    Raises:
      NotADirectoryError: If something else is in the folder's place.
    """
    if folder.exists() and not folder.is_dir():
      raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    self._folder = folder
    self._writer: tf.summary.SummaryWriter | None = None
    self._names: tuple[str, ...] | None = None  # that `_scalars` writes

  def __enter__(self) -> 'TensorBoard':
    return self

  def __exit__(self, *_) -> None:
    if self._writer is not None:
      self._writer.close()

  def write(self, row: Mapping[str, float], round_num: int) -> None:
    """Writes the row of a round; the first one replaces what an earlier process wrote of this round and later ones."""
    if self._writer is None:
      files.make_folder(self._folder)
      _drop_from(self._folder, round_num)
      self._writer = tf.summary.create_file_writer(str(self._folder))
    names = tuple(sorted(row))
    if names != self._names:
      self._names, self._scalars = names, self._trace(names)
    self._scalars(tf.constant([row[name] for name in names], tf.float32), tf.constant(round_num, tf.int64))

  def flush(self) -> None:
    """Makes the rows so far last: they are on the disk when this returns."""
    if self._writer is not None:
      self._writer.flush()
      files.make_lasting(self._folder.glob(_EVENTS))

  def _trace(self, names: tuple[str, ...]) -> Callable[[tf.Tensor, tf.Tensor], None]:
    """Returns a function that writes values of these names: one call a row, where TFF's manager makes twenty.

    A concrete one: a sweep's process makes many, which TensorFlow would take for one that is traced again and again.
    """

    @tf.function(autograph=False)
    def write_scalars(values, step):
      with self._writer.as_default(step):
        for name, value in zip(names, tf.unstack(values), strict=True):
          tf.summary.scalar(name, value)

    return write_scalars.get_concrete_function(tf.TensorSpec([len(names)], tf.float32), tf.TensorSpec([], tf.int64))


def _drop_from(folder: pathlib.Path, round_num: int) -> None:
  """Removes the events of a round and of those after it."""
  for path in folder.glob(_EVENTS):
    records = list(_records(path))
    kept = [record for record in records if _is_before(record, round_num)]
    if kept != records:
      with files.replacing(path) as unfinished, tf.io.TFRecordWriter(str(unfinished)) as writer:
        for record in kept:
          writer.write(record)


def _is_before(record: bytes, round_num: int) -> bool:
  event = tf.compat.v1.Event.FromString(record)
  return event.step < round_num or event.HasField('file_version')


def _records(path: pathlib.Path) -> Iterator[bytes]:
  """Yields the records of a file, up to one that a kill left without its end."""
  try:
    yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
  except tf.errors.DataLossError:
    return
  except tf.errors.OpError as error:  # TensorFlow's way to say that a file cannot be read
    raise OSError(errno.EIO, error.message, str(path)) from error
