# SPDX-License-Identifier: Apache-2.0
"""Any federation in the JSON layout of LEAF, `leaf_files`, which FedProx's own data are in too.

Features must be numbers in the same nested shape for every example, and stay in that shape: a flat image stays flat.
Labels must be whole numbers from 0. A user's examples are for training or testing as the files say. A user without test
examples is kept; one without training examples, as LEAF's split by user makes them, is refused.

Text is taken as LEAF writes it in two of its data sets, which have names of their own here too:

* Shakespeare: x is a text, as long as all others, and y the letter behind it, of the 80 of `characters`.
* Sent140: x is a list of at least five texts, of which the fifth is a tweet, and y its label, of those of
  `sent140_files`. `tweets` makes numbers of the words, with the vocabulary of the training tweets.

The first user of the first file says which of these the files are.
"""

import os
import pathlib
from collections.abc import Callable

import numpy as np

from fedprox_tff.core.task import FEATURES, Inputs
from fedprox_tff.datasets import base, characters, leaf_files, sent140_files, tweets
from fedprox_tff.datasets.leaf_files import Entry, require

LARGEST_LABEL = 99_999  # a model has weights for each class up to the largest: a larger label is a mistake
_LARGEST_NUMBER = float(np.finfo(np.float32).max)


def leaf(*, data_dir: str | None = None) -> base.DataSet:
  """Returns the federation in the folder `data_dir`; x of numbers keeps the shape [n, ...] that it has in the files.

  The paper has no learning rate for a federation that it does not know: this is the smallest of its convex ones.

  Args:
    data_dir: Folder that holds `train` and `test`.
  """
  if not data_dir:
    missing = '--dataset=leaf needs --data_dir, a folder that holds train/*.json and test/*.json.'
    return base.DataSet('leaf', 'LEAF', 0.01, lambda partition: require(False, missing), missing=missing)
  folder = pathlib.Path(os.path.realpath(os.path.expanduser(data_dir))).name
  return base.DataSet('leaf', folder, 0.01, lambda partition: _read_folder(data_dir), folder=folder)


def _read_folder(data_dir: str) -> base.FederatedDataset:
  root = base.data_folder(data_dir)
  convert = _Converter()
  train, test = leaf_files.read(root, convert)
  inputs, num_classes = FEATURES, None
  if convert.kind is characters.from_leaf:
    inputs, num_classes = Inputs('tokens', vocabulary=len(characters.LETTERS)), len(characters.LETTERS)
  elif convert.kind is sent140_files.from_leaf:
    encoded_train, encoded_test, inputs = tweets.encode(list(train.values()), list(test.values()))
    train, test = dict(zip(train, encoded_train, strict=True)), dict(zip(test, encoded_test, strict=True))
    num_classes = tweets.NUM_CLASSES
  train_split, test_split = leaf_files.splits(train, test)
  if num_classes is None:
    num_classes = 1 + max(int(split.examples.y.max(initial=0)) for split in (train_split, test_split))
  return base.FederatedDataset(
    name='leaf',
    client_ids=tuple(train),
    train=train_split,
    test=test_split,
    num_classes=num_classes,
    source=f'{root}, in the format of LEAF',
    inputs=inputs,
  )


class _Converter:
  """Makes examples of entries, all in the way that fits the first one that has any."""

  def __init__(self):
    self.kind: Callable[[Entry], base.Examples] | None = None

  def __call__(self, entry: Entry) -> base.Examples:
    if self.kind is None and entry.x != [] and entry.y != []:
      self.kind = _numbers_of
      if characters.is_text(entry.x, entry.y):
        self.kind = characters.from_leaf
      elif sent140_files.is_tweet(entry.x, entry.y):
        self.kind = sent140_files.from_leaf
    return (self.kind or _numbers_of)(entry)


def _numbers_of(entry: Entry) -> base.Examples:
  """Returns a user's examples, x of shape [0] where there are none."""
  where, count = entry.where, entry.count
  x, y = _numbers(entry.x, f'{where}: x'), _numbers(entry.y, f'{where}: y')
  require(y.ndim == 1, f'{where}: y has lists for labels, such as one-hot ones; whole numbers are needed.')
  require(len(x) == len(y) == count, leaf_files.miscounted(entry))
  require(x.ndim > 1 or not count, f'{where}: x has bare numbers for examples, not lists of them.')
  require(x.size or not count, f'{where}: x has no features.')
  require(np.all((y >= 0) & (y == np.floor(y))), f'{where}: y are not all whole numbers from 0.')
  largest = y.max(initial=0)
  require(largest <= LARGEST_LABEL, f'{where}: y has the label {largest:.0f}; at most {LARGEST_LABEL} is allowed.')
  return base.Examples(x.astype(np.float32), y.astype(np.int32))


def _numbers(values, what: str) -> np.ndarray:
  try:
    array = np.asarray(values)
  except ValueError:  # lists of unequal lengths
    array = np.empty(1, object)
  require(array.dtype.kind not in 'US', f'{what} is text; numbers are needed, such as the places in a vocabulary.')
  numeric = array.ndim > 0 and array.dtype.kind in 'iuf' and np.isfinite(array).all()
  require(numeric, f'{what} has lists of unequal lengths, or something other than finite numbers.')
  fits = np.abs(array).max(initial=0) <= _LARGEST_NUMBER
  require(fits, f'{what} has a number beyond {_LARGEST_NUMBER:.2g}, which is infinite in float32.')
  return array
