# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.models import MODELS, cnn, logistic
from fedprox_tff.models.base import glorot_uniform


def test_the_papers_numbers_of_parameters():
  assert sum(w.size for w in cnn((28, 28, 1), 10, seed=0).initial_weights) == 1_663_370
  assert sum(w.size for w in logistic((28, 28, 1), 10, seed=0).initial_weights) == 7_850


@pytest.mark.parametrize('name', MODELS)
def test_initial_weights_are_drawn_from_the_seed(name):
  build = MODELS[name]
  first, again, other = (build((8, 8, 1), 10, seed=seed).initial_weights for seed in (0, 0, 1))
  assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
  assert not np.array_equal(first[0], other[0])
  assert all(w.dtype == np.float32 for w in first)


@pytest.mark.parametrize(('shape', 'fans'), [((784, 10), 794), ((5, 5, 32, 64), 25 * 96)])
def test_glorot_uniform(shape, fans):
  kernel = glorot_uniform(np.random.default_rng(0), shape)
  limit = np.sqrt(6 / fans)
  assert 0.98 * limit < np.abs(kernel).max() <= limit
  assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize(('name', 'shape'), [('logistic', (8, 8, 1)), ('logistic', (60,)), ('cnn', (7, 9, 3))])
def test_logits_have_one_column_a_class(name, shape):
  model = MODELS[name](shape, 5, seed=0)
  assert model.logits(model.initial_weights, np.ones((3, *shape), np.float32)).shape == (3, 5)


@pytest.mark.parametrize(('name', 'num_classes'), [('logistic', 3), ('logistic', 20), ('cnn', 3)])
def test_a_local_step_sees_the_same_logits(name, num_classes):
  model = MODELS[name]((4, 5, 1), num_classes, seed=0)
  x = np.random.default_rng(0).normal(size=(10, 4, 5, 1)).astype(np.float32)
  weights = tuple(map(tf.constant, model.initial_weights))
  np.testing.assert_allclose(model.step_logits(weights, x), model.logits(weights, x), atol=1e-6)


def test_a_convolution_needs_images():
  with pytest.raises(ValueError, match=r'needs images \(height, width, channels\), not features of shape \(60,\)'):
    cnn((60,), 10, seed=0)
