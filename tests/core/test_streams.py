# SPDX-License-Identifier: Apache-2.0
import numpy as np

from fedprox_tff.core.streams import STREAMS, generator


def test_a_key_names_its_numbers():
  assert generator('budget', 0, 1, 2).integers(2**62) == generator('budget', 0, 1, 2).integers(2**62)


def test_streams_and_keys_are_apart():
  keys = [(s, a, b) for s in STREAMS for a in range(3) for b in range(3)]
  assert len({generator(s, a, b).integers(2**62) for s, a, b in keys}) == len(keys)


def test_global_random_state_is_neither_read_nor_changed():
  np.random.seed(1)  # noqa: NPY002
  before = np.random.get_state()[1].copy()  # noqa: NPY002
  first = generator('cohort', 0, 1).random()
  np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
  np.random.seed(2)  # noqa: NPY002
  assert generator('cohort', 0, 1).random() == first
