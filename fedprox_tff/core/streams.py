# SPDX-License-Identifier: Apache-2.0
"""Named streams of random numbers, each a pure function of its key.

Every random choice of a run names its stream and its key, such as `generator('budget', seed, round_num, client)`: a
resumed run, another algorithm or another order of evaluation then draws the very same numbers. Global random state is
never read, and the algorithm's name never enters a key, so methods with one seed meet the same clients, stragglers,
budgets and batches.

A stream's keys have one fixed length: numpy takes trailing zeros for absent, so that (5,) and (5, 0) are one key.
"""

import numpy as np

# A stream's place in this tuple is part of its key: append, never reorder.
STREAMS = ('data', 'model', 'cohort', 'stragglers', 'budget', 'shuffle', 'components', 'coins', 'steps', 'evaluation')


def generator(stream: str, *key: int) -> np.random.Generator:
  """Returns a fresh generator for `stream` at `key`, a few non-negative integers such as (seed, round_num, client)."""
  return np.random.default_rng([STREAMS.index(stream), *key])
