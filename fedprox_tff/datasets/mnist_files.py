# SPDX-License-Identifier: Apache-2.0
"""The files of MNIST (LeCun, Cortes and Burges, 1998): where they are looked for, how they are known to be whole.

Two layouts are read: the four IDX files, gzipped or not, and `mnist.npz` as Keras serves it. Either way it is the
content of the uncompressed IDX files that must have the known SHA-256, rebuilt in the case of `mnist.npz`, since how
it is compressed differs from mirror to mirror.
"""

import gzip
import hashlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import sources
from fedprox_tff.machine import files

NPZ = 'mnist.npz'
NPZ_ARRAYS = ('x_train', 'y_train', 'x_test', 'y_test')  # in the order of IDX_SHA256
IDX_SHA256 = {
  'train-images-idx3-ubyte': 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
  'train-labels-idx1-ubyte': '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
  't10k-images-idx3-ubyte': '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
  't10k-labels-idx1-ubyte': 'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
}


def read(data_dir: str | None, published: Mapping[str, str] = IDX_SHA256) -> tuple[np.ndarray, np.ndarray, str]:
  """Reads all of MNIST, downloading it to the cache if it is nowhere to be found.

  Args:
    data_dir: a folder to look in first, or None.
    published: the SHA-256 that the content of each IDX file must have.

  Returns:
    The images, uint8 [70000, 28, 28], the training images first; their labels, uint8 [70000]; and one line on where
    they came from.

  Raises:
    UserError: if `data_dir` is not a folder.
    DataError: if a file is not the published one, or the download fails.
  """
  paths = find(data_dir) or [_download(sources.cache_dir(), published)]
  return *_verified(paths, published), f'{_place(paths)}, sha256 verified'


def locate(data_dir: str | None) -> str | None:
  """Returns the folder or the file that MNIST would be read from, unverified, or None if it would be downloaded."""
  paths = find(data_dir)
  return _place(paths) if paths else None


def find(data_dir: str | None) -> list[str]:
  """Finds MNIST in `data_dir`, in $FEDPROX_DATA_DIR or in the cache: in the folder itself or its subfolder `mnist`.

  Returns:
    The four IDX files in the order of `IDX_SHA256`, or the one `mnist.npz`, or nothing.

  Raises:
    UserError: if `data_dir` is given and is not a folder.
  """
  for folder in sources.places(data_dir, 'mnist'):
    idx = [path for name in IDX_SHA256 for path in _spellings(folder, name)[:1]]
    if len(idx) == len(IDX_SHA256):
      return idx
    if os.path.isfile(os.path.join(folder, NPZ)):
      return [os.path.join(folder, NPZ)]
  return []


def _spellings(folder: str, name: str) -> list[str]:
  """Returns the files of an IDX name that exist: unpacking some archives turns the hyphen into a point."""
  stems = (name, name.replace('-idx', '.idx'))
  paths = [os.path.join(folder, stem + ending) for stem in stems for ending in ('', '.gz')]
  return [path for path in paths if os.path.isfile(path)]


def _place(paths: list[str]) -> str:
  return paths[0] if len(paths) == 1 else os.path.dirname(paths[0])


def _verified(paths: list[str], published: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the images and labels in files found by `find`, once their contents have proved to be MNIST's."""
  contents = _npz_as_idx(paths[0]) if len(paths) == 1 else {path: _idx(path) for path in paths}
  for (name, content), known in zip(contents.items(), published.values(), strict=True):
    found = hashlib.sha256(content).hexdigest()
    if found != known:
      raise DataError(
        f'{name} is not the published file of MNIST or is cut short: the sha256 of its content is {found}, not '
        f'{known}. Replace or remove it.'
      )
  train_images, train_labels, test_images, test_labels = (np.frombuffer(c, np.uint8) for c in contents.values())
  images = np.concatenate([train_images[16:], test_images[16:]]).reshape(-1, 28, 28)  # after a header of 16 bytes
  return images, np.concatenate([train_labels[8:], test_labels[8:]])  # and one of 8


def _idx(path: str) -> bytes:
  try:
    with open(path, 'rb') as file:
      content = file.read()
    return gzip.decompress(content) if path.endswith('.gz') else content
  except Exception as error:  # a damaged file may raise OSError, EOFError, zlib.error or struct.error
    raise DataError(f'{path} cannot be read: {error}. Replace or remove it.') from error


def _npz_as_idx(path: str) -> dict[str, bytes]:
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return {f'{path}, {name},': _idx_header(arrays[name]) + arrays[name].tobytes() for name in NPZ_ARRAYS}
  except Exception as error:  # numpy, zipfile and zlib each have their own for every kind of damage
    raise DataError(f'{path} cannot be read as the mnist.npz of Keras: {error}. Replace or remove it.') from error


def _idx_header(array: np.ndarray) -> bytes:
  """Returns the magic number, which says uint8 and the number of dimensions, and the dimensions, big-endian."""
  return np.array([0x0800 + array.ndim, *array.shape], '>u4').tobytes()


def _download(folder: str, published: Mapping[str, str]) -> str:
  """Downloads `mnist.npz` into `folder`, where it appears only once it is whole and verified."""
  with sources.fetching('MNIST', instead='use --dataset=digits, which needs no download'):
    import tensorflow as tf  # imported here: it takes seconds, and only a machine's first run downloads

    os.makedirs(folder, exist_ok=True)
    with files.replacing(pathlib.Path(folder, NPZ)) as unfinished:
      tf.keras.datasets.mnist.load_data(path=str(unfinished))
      _verified([str(unfinished)], published)
  return os.path.join(folder, NPZ)
