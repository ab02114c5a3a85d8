# SPDX-License-Identifier: Apache-2.0
import random
import textwrap

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedavg
from fedprox_tff.core.errors import UserError
from fedprox_tff.core.task import Inputs, Task
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated import build_process, client_payload, runtimes
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.models.keras_file import factory_of, is_keras_file, keras_file
from fedprox_tff.models.mixture import mixture

IMAGES = Task((4, 4, 1), 3)
TEXT = Task((5,), 6, Inputs('tokens', vocabulary=6))

DENSE = """
  def network(s, c):
    return K.Sequential([L.Flatten(), L.Dense(4, 'swish'), L.LayerNormalization(), L.Dense(c)])
"""
CONVOLUTIONS = """
  def network(s, c):
    x = L.Input(s)
    y = L.Conv2D(2, 3, padding='same', activation='relu')(x)
    y = L.ReLU()(L.GroupNormalization(1)(y + L.Conv2D(2, 3, padding='same')(y)))
    return K.Model(x, L.Dense(c)(L.GlobalAveragePooling2D()(y)))
"""
RECURRENT = """
  def network(s, c, vocabulary):
    return K.Sequential([L.Embedding(vocabulary, 3), L.GRU(4), L.Dense(c)])
"""
SUBCLASSED = """
  class Network(K.Model):
    def __init__(self, c):
      super().__init__()
      self.stack, self.heads = L.Flatten(), [L.Dense(c), L.Dense(c)]

    def call(self, x):
      x = self.stack(x)
      return self.heads[0](x) - self.heads[1](x)

  def network(s, c):
    return Network(c)
"""

BRANCHING = """
  class Branch(L.Layer):
    def call(self, x):
      if tf.reduce_sum(x) > 0:
        x = 2 * x
      for _ in tf.range(2):
        x = x + 1
      return x

  def network(s, c):
    return K.Sequential([L.Flatten(), Branch(), L.Dense(c)])
"""


def written(tmp_path, code):
  path = tmp_path / 'own.py'
  path.write_text('import tensorflow as tf\nK, L = tf.keras, tf.keras.layers\n' + textwrap.dedent(code).strip() + '\n')
  return str(path)


def built(tmp_path, code, task=IMAGES, seed=1):
  return keras_file(written(tmp_path, code), 'network').build(task, seed=seed)


def examples_of(task):
  rng = np.random.default_rng(0)
  if task.inputs.kind == 'tokens':
    return rng.integers(6, size=(7, *task.input_shape)).astype(np.uint8)
  return rng.normal(size=(7, *task.input_shape)).astype(np.float32)


def moved(model):
  """Returns other weights than the initial ones."""
  return tuple(tf.constant(w + 0.1) for w in (*model.initial_weights, *model.frozen))


def test_the_form_of_a_name():
  assert is_keras_file('a/b.py:network')
  assert not is_keras_file('logistic')
  for text in ('own.py:', 'own.py:1st', 'logistic'):
    with pytest.raises(UserError, match=r'FILE\.py:function is needed'):
      factory_of(text)


def test_a_name_has_one_factory(tmp_path):
  text = f'{written(tmp_path, DENSE)}:network'
  factory = factory_of(text)
  assert factory_of(text) is factory
  assert (factory().name, factory().title) == (text, 'network')
  with pytest.raises(UserError, match=r'there is no file .*absent\.py'):
    factory_of(f'{tmp_path}/absent.py:network')


def test_initial_weights_follow_from_the_seed_alone(tmp_path):
  """Whatever the file does to Keras's seed, and without a trace in Python's own generator."""
  architecture = keras_file(written(tmp_path, 'tf.keras.utils.set_random_seed(5)' + textwrap.dedent(DENSE)), 'network')
  architecture.build(IMAGES, seed=0)
  state = random.getstate()
  first, again, other = (architecture.build(IMAGES, seed=seed).initial_weights for seed in (3, 3, 4))
  assert random.getstate() == state
  assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
  assert not np.array_equal(first[0], other[0])
  assert all(w.dtype == np.float32 for w in first)


def test_logits_and_gradients_are_those_of_the_formula(tmp_path):
  model = built(tmp_path, DENSE)
  assert model.normalisation == (False, False, True, True, False, False)
  x, weights = examples_of(IMAGES), moved(model)

  def formula(weights, x):
    kernel_1, bias_1, gamma, beta, kernel_2, bias_2 = weights
    h = tf.reshape(x, [-1, 16]) @ kernel_1 + bias_1
    h = h * tf.sigmoid(h)
    mean, variance = tf.nn.moments(h, [1], keepdims=True)
    return ((h - mean) / tf.sqrt(variance + 1e-3) * gamma + beta) @ kernel_2 + bias_2

  def gradients(logits):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = tf.reduce_sum(tf.nn.log_softmax(logits(weights, x))[:, 1])
    return tape.gradient(loss, weights)

  np.testing.assert_allclose(model.logits(weights, x), formula(weights, x), atol=1e-5)
  for ours, expected in zip(gradients(model.logits), gradients(formula), strict=True):
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize(
  ('code', 'task', 'num_weights'),
  [(CONVOLUTIONS, IMAGES, 8), (RECURRENT, TEXT, 6), (SUBCLASSED, IMAGES, 4)],
  ids=['convolutions', 'recurrent', 'subclassed'],
)
def test_it_learns_in_a_computation_of_tff(tmp_path, code, task, num_weights):
  """Two steps in a loop in a graph are two steps by hand."""
  model = built(tmp_path, code, task)
  assert len(model.initial_weights) == num_weights
  x, start = examples_of(task), moved(model)

  def step(weights):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = -tf.reduce_mean(tf.nn.log_softmax(model.step_logits(weights, x))[:, 1])
    return tuple(w - 0.5 * tf.convert_to_tensor(g) for w, g in zip(weights, tape.gradient(loss, weights), strict=True))

  @tff.tensorflow.computation(tff.StructWithPythonType([tff.TensorType(np.float32, w.shape) for w in start], tuple))
  def two_steps(weights):
    return tf.while_loop(lambda i, _: i < 2, lambda i, w: (i + 1, step(w)), (tf.constant(0), tuple(weights)))[1]

  by_hand = step(step(start))
  for before, ours, expected in zip(start, two_steps(start), by_hand, strict=True):
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert not np.allclose(before, expected, atol=1e-4)


def test_weights_that_do_not_train_are_frozen(tmp_path):
  model = built(
    tmp_path, 'def network(s, c): return K.Sequential([L.Flatten(), L.Dense(2, trainable=False), L.Dense(c)])'
  )
  assert [w.shape for w in model.initial_weights] == [(2, 3), (3,)]
  assert [w.shape for w in model.frozen] == [(16, 2), (2,)]
  kernel, bias, frozen_kernel, frozen_bias = weights = moved(model)
  x = examples_of(IMAGES)
  expected = (x.reshape(7, 16) @ frozen_kernel + frozen_bias) @ kernel + bias
  np.testing.assert_allclose(model.logits(weights, x), expected, atol=1e-5)


def test_a_label_at_each_place(tmp_path):
  task = TEXT._replace(label_shape=(5,))
  code = 'def network(s, c, vocabulary): return K.Sequential([L.Embedding(vocabulary, 3), L.Dense(c)])'
  model = built(tmp_path, code, task)
  assert model.label_shape == (5,)
  assert model.logits(model.initial_weights, examples_of(task)).shape == (7, 5, 6)


def test_a_mixture_of_them(tmp_path):
  model = mixture(keras_file(written(tmp_path, SUBCLASSED), 'network'), 2).build(IMAGES, seed=0)
  x, weights = examples_of(IMAGES), moved(model)
  flat = x.reshape(7, 16)
  expected = [flat @ k + b - (flat @ m + c) for k, b, m, c in (weights[:4], weights[4:])]
  np.testing.assert_allclose(model.component_logits(weights, x), np.stack(expected, axis=1), atol=1e-5)


def sequential(layers):
  return f'def network(s, c): return K.Sequential([L.Flatten(), {layers}])'


@pytest.mark.parametrize(
  ('code', 'said'),
  [
    (sequential('L.Dense(c, activation="softmax")'), 'Its output is that of a softmax; logits are needed.'),
    (
      sequential('L.Dense(c + 1)'),
      'Its output is float32 of shape (None, 4); float32 of shape (None, 3) is needed.',
    ),
    (
      sequential('L.Dropout(0.5, name="mine"), L.Dense(c)'),
      'Its layer mine (Dropout) does something else in training than in evaluation, as batch normalisation and dropout '
      'do; layer and group normalisation are possible, dropout is not.',
    ),
    (
      sequential('K.Sequential([L.Dense(2), L.BatchNormalization(name="inner")]), L.Dense(c)'),
      'Its layer inner (BatchNormalization) does something else in training than in evaluation, as batch normalisation '
      'and dropout do; layer and group normalisation are possible, dropout is not.',
    ),
    (
      sequential('L.Lambda(lambda x: x + tf.random.normal(tf.shape(x)), name="noise"), L.Dense(c)'),
      'Its layer noise (Lambda) draws at random.',
    ),
    (
      sequential('L.Dense(c, kernel_regularizer="l2")'),
      'The loss is cross-entropy alone; its regularisation losses would be lost.',
    ),
    (sequential('L.Dense(c, dtype="float64")'), 'Its weight dense/kernel:0 is float64; float32 is needed.'),
    (sequential('L.Dense(c, trainable=False)'), 'None of its weights trains.'),
    (
      sequential('L.Dense(c, kernel_initializer=lambda shape, dtype: tf.random.normal(shape))'),
      "The initial values of dense/kernel:0 do not follow from the run's seed; Keras's initialisers are needed.",
    ),
    ('def network(s, c): return 3', 'A tf.keras.Model is needed, not something of type int.'),
    ('def other(s, c): return 3', 'own.py has no function network.'),
    ('network = 3', 'own.py has no function network.'),
    ('def network(s, c):\n  return 1 / 0', 'own.py, line 4: ZeroDivisionError: division by zero'),
    ('def network(s, c:', "own.py, line 3: SyntaxError: '(' was never closed (own.py, line 3)"),
    ('raise OSError("no such\\nthing")', 'own.py, line 3: OSError: no such thing'),
    ('def network(): return 3', 'own.py: TypeError: network() takes 0 positional arguments but 2 were given'),
  ],
)
def test_refusals_are_one_line(tmp_path, code, said):
  tf.keras.backend.clear_session()  # so that the first layer's name has no number
  with pytest.raises(ValueError) as raised:
    built(tmp_path, code)
  assert str(raised.value).replace(f'{tmp_path}/', '') == said


def test_weights_that_are_no_attributes(tmp_path):
  code = """
    class Listed(L.Layer):
      def build(self, shape):
        self.kernels = [self.add_weight(name='first', shape=(16, 3))]

      def call(self, x):
        return x @ self.kernels[0]

    def network(s, c):
      return K.Sequential([L.Flatten(), Listed()])
  """
  with pytest.raises(ValueError, match='first:0 would have to be an attribute of the layer that uses it'):
    built(tmp_path, code)


def test_two_outputs(tmp_path):
  code = """
    def network(s, c):
      x = L.Input(s)
      y = L.Dense(c)(L.Flatten()(x))
      return K.Model(x, [y, y])
  """
  with pytest.raises(ValueError, match='Its output is a list; one tensor of logits is needed'):
    built(tmp_path, code)


def test_ifs_and_loops_over_tensors_are_translated(tmp_path):
  """In a local step, in which XLA is not asked, and in evaluation."""
  model = built(tmp_path, BRANCHING)
  x = np.stack([np.full((4, 4, 1), 0.5), np.full((4, 4, 1), -0.25)]).astype(np.float32)
  kernel, bias = moved(model)
  expected = tf.reshape(2 * x + 2, [2, 16]) @ kernel + bias  # the sum of both is positive
  evaluate = Evaluator(model, Examples(x, np.zeros(2, np.int32)))
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 0], logits=expected)
  assert evaluate((kernel, bias)).loss == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-6)

  with runtimes.use('in_process'):
    process = build_process(fedavg(), model, client_optimizer=tff.learning.optimizers.build_sgdm(1.0))
    state = process.set_model_weights(process.initialize(), tff.learning.models.ModelWeights((kernel, bias), ()))
    data = {'x': x, 'y': np.zeros(2, np.int32)}
    state, _ = process.next(state, [client_payload(data, num_epochs=1, batch_size=2, key=(0, 1, 0))])
    moved_bias = process.get_model_weights(state).trainable[1]
  gradient = tf.reduce_mean(tf.nn.softmax(expected) - tf.one_hot([0, 0], 3), axis=0)
  np.testing.assert_allclose(bias - moved_bias, gradient, rtol=1e-5, atol=1e-6)
