# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation where each example has its own number of values, and of networks that draw at random."""

import numpy as np
import tensorflow as tf

from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm

OWNERS = [0, 0, 0, 1, 2, 2]  # three examples with three values, one, and two; the second is padding
VALUES = np.float32([[1], [3], [8], [99], [2], [6]])  # without padding: mean 4, squared distances 9 + 1 + 16 + 4 + 4


def test_a_row_counts_if_its_example_does():
  model = with_batch_norm('rows', [BatchNorm(1)], lambda parts, x: parts[0](x, OWNERS), (1,), jit_compile=False)
  weights = tuple(tf.constant([value], tf.float32) for value in (2, 1, 10, 1))
  y, statistics = model.train_logits(weights, VALUES, np.float32([1, 0, 1]), None)
  expected = 1 + 2 * (VALUES - 4) / np.sqrt(34 / 5 + 1e-5)
  np.testing.assert_allclose(y, expected, rtol=1e-6)
  np.testing.assert_allclose(statistics[2], [9 + 0.4], rtol=1e-6)
  np.testing.assert_allclose(statistics[3], [0.9 + 0.1 * 34 / 4], rtol=1e-6)
  np.testing.assert_allclose(model.logits(weights, VALUES), 1 + 2 * (VALUES - 10) / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_a_network_that_draws_gets_the_key_of_a_local_step():
  def forward(parts, x, key):
    return x * parts[0] + (0 if key is None else key)

  model = with_batch_norm('draws', [np.float32([2])], forward, (1,), jit_compile=False, draws=True)
  assert model.draws
  weights, x = (tf.constant([2.0]),), np.float32([[1], [3]])
  assert model.logits(weights, x).numpy().tolist() == [[2], [6]]
  assert model.train_logits(weights, x, np.ones(2, np.float32), 5.0)[0].numpy().tolist() == [[7], [11]]
