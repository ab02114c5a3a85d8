# SPDX-License-Identifier: Apache-2.0
"""Rows of one pool of examples, dealt to clients."""

from collections.abc import Sequence

import numpy as np

from fedprox_tff.datasets.base import ClientSplit, Examples, empty_split


def take(examples: Examples, rows_of_client: Sequence[np.ndarray]) -> ClientSplit:
  """Returns a split whose client k holds the rows rows_of_client[k], in their order; x stays of the type that it is."""
  sizes = np.array([len(rows) for rows in rows_of_client])
  split = empty_split(sizes, examples.x.shape[1:], dtype=examples.x.dtype.type)
  rows = np.concatenate(rows_of_client)
  np.take(examples.x, rows, axis=0, out=split.examples.x, mode='clip')  # the other modes make a copy before
  split.examples.y[:] = examples.y[rows]
  return split
