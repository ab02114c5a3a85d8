# SPDX-License-Identifier: Apache-2.0
"""The files of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

The official "python version" is read, as a folder or as the archive that it comes in. An archive has to have the known
SHA-256. A folder may hold a part of the images: each file must be of the right form, and the number of images is said.

The files are pickles, and a pickle can run any code. They are read by an unpickler that makes numpy's arrays, numbers,
text, lists and dicts, and nothing else.
"""

import io
import os
import pickle
import tarfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError, line_of
from fedprox_tff.datasets import sources
from fedprox_tff.datasets.base import Examples

SIDE, CHANNELS = 32, 3
TRAIN_SIZE, TEST_SIZE = 50_000, 10_000  # of the whole set


class Release(NamedTuple):
  """What sets CIFAR-10 and CIFAR-100 apart.

  Attributes:
    title: What messages call it.
    subfolder: The data set's own folder, where data of several sets lie side by side.
    folder: The name of the folder of files, and of that in the archive.
    train: The names of the files with training images.
    test: The name of the file with test images.
    labels: The key of the labels in each file.
    num_classes: How many classes there are.
    archive: The name of the archive.
    sha256: The archive's.
  """

  title: str
  subfolder: str
  folder: str
  train: Sequence[str]
  test: str
  labels: str
  num_classes: int
  archive: str
  sha256: str

  @property
  def url(self) -> str:
    """Where the archive is."""
    return f'https://www.cs.toronto.edu/~kriz/{self.archive}'


CIFAR10 = Release(
  title='CIFAR-10',
  subfolder='cifar10',
  folder='cifar-10-batches-py',
  train=tuple(f'data_batch_{number}' for number in range(1, 6)),
  test='test_batch',
  labels='labels',
  num_classes=10,
  archive='cifar-10-python.tar.gz',
  sha256='6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce',
)
CIFAR100 = Release(
  title='CIFAR-100',
  subfolder='cifar100',
  folder='cifar-100-python',
  train=('train',),
  test='test',
  labels='fine_labels',
  num_classes=100,
  archive='cifar-100-python.tar.gz',
  sha256='85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7',
)


def read(release: Release, data_dir: str | None) -> tuple[Examples, Examples, str]:
  """Reads a set, downloading its archive to the cache if it is nowhere to be found.

  Args:
    release: Which.
    data_dir: A folder to look in first, or None.

  Returns:
    The training examples, x of uint8 [n, 32, 32, 3]; the test examples; and one line on where they came from.

  Raises:
    UserError: If `data_dir` is not a folder.
    DataError: If a file is not what it should be, or the download fails.
  """
  place = find(release, data_dir) or _download(release)
  if os.path.isdir(place):
    train, test = _examples(release, lambda name: (os.path.join(place, name), _content(os.path.join(place, name))))
    return train, test, f'{place}, {_amount(len(train.y), len(test.y))}'
  sources.verify(place, release.sha256, release.title)
  train, test = _from_archive(release, place)
  return train, test, f'{place}, sha256 verified, {_amount(len(train.y), len(test.y))}'


def find(release: Release, data_dir: str | None) -> str | None:
  """Returns the folder or the archive that a set would be read from, or None if it would be downloaded.

  Raises:
    UserError: If `data_dir` is given and is not a folder.
  """
  for folder in sources.places(data_dir, release.subfolder):
    for candidate in (folder, os.path.join(folder, release.folder)):
      paths = [os.path.join(candidate, name) for name in (*release.train, release.test)]
      if all(os.path.isfile(path) for path in paths):
        return os.path.dirname(paths[0])
    if os.path.isfile(os.path.join(folder, release.archive)):
      return os.path.join(folder, release.archive)
  return None


def _download(release: Release) -> str:
  path = os.path.join(sources.cache_dir(), release.subfolder, release.archive)
  return sources.download(release.url, path, release.sha256, release.title)


def _amount(train_size: int, test_size: int) -> str:
  if (train_size, test_size) == (TRAIN_SIZE, TEST_SIZE):
    return f'the whole set, {TRAIN_SIZE:,} training and {TEST_SIZE:,} test images'
  return f'a part of the set: {train_size:,} of {TRAIN_SIZE:,} training and {test_size:,} of {TEST_SIZE:,} test images'


def _content(path: str) -> bytes:
  try:
    with open(path, 'rb') as file:
      return file.read()
  except OSError as error:
    raise DataError(f'{path} cannot be read: {error.strerror}.') from error


def _from_archive(release: Release, path: str) -> tuple[Examples, Examples]:
  try:
    with tarfile.open(path) as archive:
      return _examples(release, lambda name: (f'{path}, {name},', _member(archive, f'{release.folder}/{name}')))
  except (OSError, EOFError, KeyError, tarfile.TarError) as error:
    raise DataError(f'{path} cannot be read: {line_of(error)}. Replace or remove it.') from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
  file = archive.extractfile(name)
  if file is None:
    raise KeyError(f'{name} is not a file')
  return file.read()


def _examples(release: Release, content: Callable[[str], tuple[str, bytes]]) -> tuple[Examples, Examples]:
  """Returns training and test examples; `content` tells of a file's name what messages call it, and its bytes."""
  parts = [_parse(release, *content(name)) for name in release.train]
  train = Examples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))
  return train, _parse(release, *content(release.test))


def _parse(release: Release, what: str, content: bytes) -> Examples:
  """Returns the examples of one file, x as a network wants it: in the file a channel comes after the other."""
  try:
    batch = _Unpickler(io.BytesIO(content), encoding='bytes').load()
    batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
  except Exception as error:  # a damaged pickle raises nearly anything
    raise DataError(f'{what} cannot be read as a file of {release.title}: {error!r}. Replace or remove it.') from error
  data, labels = batch.get('data'), batch.get(release.labels)
  size = CHANNELS * SIDE * SIDE
  good = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == size
  if not good or not len(data):
    raise DataError(f"{what} is no file of {release.title}: 'data' are not images, uint8 [n, {size}].")
  if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
    raise DataError(
      f'{what} is no file of {release.title}: {release.labels!r} is not a list of {len(data):,} whole numbers.'
    )
  if not 0 <= min(labels) <= max(labels) < release.num_classes:
    raise DataError(f'{what}: {release.labels!r} are not all from 0 to {release.num_classes - 1}.')
  x = data.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
  return Examples(np.ascontiguousarray(x), np.array(labels, np.int32))


def _new_array(kind: type[np.ndarray], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
  """Stands in for numpy's `_reconstruct`; the array's content comes next in the pickle."""
  return np.ndarray.__new__(kind, shape, dtype)


def _latin1(text: str, encoding: str) -> bytes:
  """Stands in for `codecs.encode`, by which Python 3 writes bytes into a pickle that Python 2 can read."""
  if encoding != 'latin1':
    raise pickle.UnpicklingError(f'it asks for the encoding {encoding}')
  return text.encode('latin1')


_ALLOWED = {
  ('numpy.core.multiarray', '_reconstruct'): _new_array,
  ('numpy._core.multiarray', '_reconstruct'): _new_array,
  ('numpy', 'ndarray'): np.ndarray,
  ('numpy', 'dtype'): np.dtype,
  ('_codecs', 'encode'): _latin1,
  ('__builtin__', 'bytes'): bytes,  # as Python 3 writes empty ones
}


class _Unpickler(pickle.Unpickler):
  """Makes numpy's arrays, and of all else only what needs no class."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in _ALLOWED:
      raise pickle.UnpicklingError(f'it asks for {module}.{name}')
    return _ALLOWED[module, name]
