# SPDX-License-Identifier: Apache-2.0
import numpy as np

from fedprox_tff.datasets.base import ClientSplit, Examples
from fedprox_tff.federated.evaluation.sample import sampled

OFFSETS = np.array([0, 40, 40, 100])
SPLIT = ClientSplit(Examples(np.arange(100, dtype=np.uint8)[:, None], np.arange(100, dtype=np.int32)), OFFSETS)


def test_a_sample_is_of_different_examples_in_their_clients():
  some = sampled(SPLIT, 30, part=1)
  assert len(set(some.examples.y.tolist())) == 30
  assert some.examples.x.dtype == np.uint8
  np.testing.assert_array_equal(some.examples.x[:, 0], some.examples.y)
  assert [set(some.client(k).y.tolist()) for k in range(3)] == [
    {y for y in some.examples.y.tolist() if y < 40},
    set(),
    {y for y in some.examples.y.tolist() if y >= 40},
  ]


def test_the_same_sample_each_time_and_another_of_the_test_examples():
  first, again, other = (sampled(SPLIT, 30, part=part).examples.y.tolist() for part in (1, 1, 2))
  assert first == again
  assert first != other


def test_no_sample_of_what_has_no_more():
  assert sampled(SPLIT, None, part=1) is SPLIT
  assert sampled(SPLIT, 100, part=1) is SPLIT
  assert sampled(SPLIT, 5000, part=1) is SPLIT
