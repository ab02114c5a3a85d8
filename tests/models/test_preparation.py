# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core import draws
from fedprox_tff.core.task import Inputs
from fedprox_tff.models.base import Model
from fedprox_tff.models.preparation import prepared

KEY = tf.constant([3, 5], tf.int32)
X = np.uint8([[255, 51]])


def watched(seen, *, draws_itself=True):
  """Returns a model that puts what it is given into `seen`."""

  def train_logits(weights, x, mask, key):
    seen['x'], seen['key'] = x, key
    return x, {}

  def logits(weights, x):
    return x

  return Model(
    'watched', (), logits, logits, (2,), False, train_logits=train_logits, joint_logits=logits, draws=draws_itself
  )


def inputs(seen):
  def augment(x, key):
    seen['augmented by'] = key
    return tf.cast(x, tf.float32) / 510

  return Inputs('images', prepare=lambda x: tf.cast(x, tf.float32) / 255, augment=augment)


def test_evaluation_sees_examples_prepared_and_a_local_step_sees_them_augmented():
  seen = {}
  model = prepared(watched(seen), inputs(seen), input_shape=(2,), input_type='uint8')
  np.testing.assert_allclose(model.logits((), X), [[1.0, 0.2]], rtol=1e-6)
  np.testing.assert_allclose(model.step_logits((), X), [[1.0, 0.2]], rtol=1e-6)
  np.testing.assert_allclose(model.joint_logits((), X), [[1.0, 0.2]], rtol=1e-6)
  model.train_logits((), X, None, KEY)
  np.testing.assert_allclose(seen['x'], [[0.5, 0.1]], rtol=1e-6)
  assert model.input_type == 'uint8'


def test_a_network_draws_other_numbers_than_the_augmentation_before_it():
  seen = {}
  prepared(watched(seen), inputs(seen), input_shape=(2,), input_type='uint8').train_logits((), X, None, KEY)
  assert seen['augmented by'].numpy().tolist() == KEY.numpy().tolist()
  assert seen['key'].numpy().tolist() == draws.fold(KEY, 1).numpy().tolist()
  assert seen['key'].numpy().tolist() != KEY.numpy().tolist()


def test_what_draws_nothing_gets_no_key():
  seen = {}
  plain = Inputs('images', prepare=lambda x: tf.cast(x, tf.float32))
  model = prepared(watched(seen, draws_itself=False), plain, input_shape=(2,), input_type='uint8')
  assert not model.draws
  model.train_logits((), X, None, None)
  assert seen['key'] is None


def test_a_mixture_refuses_augmented_examples():
  mixture = watched({})._replace(component_logits=lambda weights, x: x)
  with pytest.raises(ValueError, match='A mixture of models cannot learn from augmented examples'):
    prepared(mixture, inputs({}), input_shape=(2,), input_type='uint8')
