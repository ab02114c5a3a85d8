# SPDX-License-Identifier: Apache-2.0
import pytest

from fedprox_tff.core import batches


@pytest.mark.parametrize('batch_size', [1, 10, 200, 256])
@pytest.mark.parametrize('num_examples', [0, 5, 256, 10_000])
def test_up_to_256_nothing_depends_on_the_client(batch_size, num_examples):
  assert batches.bounded(batch_size, num_examples) == batch_size
  assert batches.width(num_examples, batch_size) == batch_size
  assert batches.block(batch_size) == 256


@pytest.mark.parametrize(
  ('num_examples', 'batch_size', 'width', 'block'),
  [
    (0, 10**9, 256, 256),
    (256, 10**9, 256, 256),
    (257, 10**9, 1024, 64),
    (1025, 10**9, 4096, 16),
    (70_000, 10**9, 262_144, 1),
    (257, 300, 300, 218),
    (5000, 300, 300, 218),  # 17 steps an epoch
  ],
)
def test_above_it_is_what_the_client_needs(num_examples, batch_size, width, block):
  assert batches.width(num_examples, batch_size) == width
  assert batches.block(width) == block
  assert batches.steps_per_epoch(num_examples, width) == batches.steps_per_epoch(num_examples, batch_size)


@pytest.mark.parametrize('most', [1, 200, 256, 320, 5000])
def test_however_all_examples_are_written_it_is_one_number(most):
  large = max(257, most)
  assert {batches.bounded(b, most) for b in ('all', large, 10**9, 2**70)} == {most}
