# SPDX-License-Identifier: Apache-2.0
"""The examples that a run is evaluated on: all of them, or a sample that is the same in every round and every run.

The sample is drawn uniformly from the examples of all clients together. It depends on how many there are and how many
are asked for, and on nothing else, so that runs of one federation are measured on the same examples.
"""

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.datasets.base import ClientSplit, Examples


def sampled(split: ClientSplit, size: int | None, *, part: int) -> ClientSplit:
  """Returns a split of `size` of the examples, or the split itself if it has no more, or `size` is None.

  Args:
    split: All examples.
    size: How many to draw.
    part: Which draw it is, from 1: the training and the test examples have draws of their own.
  """
  num_examples = len(split.examples.y)
  if size is None or size >= num_examples:
    return split
  rows = streams.generator('evaluation', num_examples, size, part).choice(num_examples, size, replace=False)
  rows.sort()  # one client after another
  examples = Examples(*(np.ascontiguousarray(array[rows]) for array in split.examples))
  return ClientSplit(examples, np.searchsorted(rows, split.offsets).astype(np.int64))
