# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core import draws

KEY = tf.constant([12345, 67890], tf.int32)


def drawn(key, jit_compile):
  function = tf.function(lambda key: draws.uniform([1000, 3], draws.fold(key, 7)), jit_compile=jit_compile)
  return function(key).numpy()


def test_xla_draws_the_same_bits():
  np.testing.assert_array_equal(drawn(KEY, True), drawn(KEY, False))


def test_a_key_names_the_numbers():
  first, again, other = drawn(KEY, False), drawn(KEY, False), drawn(tf.constant([12345, 67891], tf.int32), False)
  np.testing.assert_array_equal(first, again)
  assert (first != other).mean() > 0.99
  assert (first != draws.uniform([1000, 3], KEY).numpy()).mean() > 0.99
  assert len(np.unique(first)) > 2990


def test_numbers_are_uniform():
  numbers = drawn(KEY, False)
  assert 0 <= numbers.min() < 0.01
  assert 0.99 < numbers.max() < 1
  assert numbers.mean() == pytest.approx(0.5, abs=0.02)
  assert numbers.var() == pytest.approx(1 / 12, abs=0.01)
