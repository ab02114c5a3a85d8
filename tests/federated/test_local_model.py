# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.core.task import Task
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.suite_model import functional_model
from fedprox_tff.models import MODELS, cnn_bn, logistic, mlp_bn
from fedprox_tff.models.mixture import mixture
from tests.tasks import task_for

SHAPE = (8, 8, 1)


def tensors(arrays):
  return tuple(map(tf.constant, arrays))


def random_batch(size, num_classes=10, shape=SHAPE):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(size, *shape)).astype(np.float32)
  return {'x': tf.constant(x), 'y': tf.constant(rng.integers(0, num_classes, size), tf.int32)}


def away_from_the_start(model):
  """Returns weights at which no gradient vanishes by symmetry; variances stay positive."""
  rng = np.random.default_rng(1)
  return tensors(w + rng.uniform(0, 0.5, w.shape).astype(np.float32) for w in model.initial_weights)


def keras_mlp():
  layers = tf.keras.layers
  norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
  return tf.keras.Sequential(
    [layers.Flatten(), layers.Dense(128, use_bias=False), norm, layers.ReLU(), layers.Dense(10)]
  )


def keras_cnn():
  layers, stack = tf.keras.layers, []
  for channels in (32, 64):
    convolution = layers.Conv2D(channels, 5, padding='same', use_bias=False)
    norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    stack += [convolution, norm, layers.ReLU(), layers.MaxPool2D(2, padding='same')]
  norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
  stack += [layers.Flatten(), layers.Dense(512, use_bias=False), norm, layers.ReLU(), layers.Dense(10)]
  return tf.keras.Sequential(stack)


@pytest.mark.parametrize(('factory', 'keras'), [(mlp_bn, keras_mlp), (cnn_bn, keras_cnn)])
def test_a_pass_is_that_of_keras_without_the_padding(factory, keras):
  model, keras_model, count = factory().build(Task(SHAPE, 10), seed=0), keras(), 7
  weights, batch = away_from_the_start(model), random_batch(10)
  gradient, statistics = local_model(model).build_step()(weights, (), batch, tf.constant(count))

  keras_model.build([None, *SHAPE])
  owned = [(layer, variable) for layer in keras_model.layers for variable in layer.weights]
  for (_, variable), weight in zip(owned, weights, strict=True):
    variable.assign(weight)
  with tf.GradientTape() as tape:
    logits = keras_model(batch['x'][:count], training=True)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=batch['y'][:count], logits=logits))
  gradients = iter(tape.gradient(loss, keras_model.trainable_variables))
  for place, (layer, variable) in enumerate(owned):
    if variable.trainable:
      assert place not in statistics
      np.testing.assert_allclose(gradient[place], next(gradients), rtol=1e-3, atol=1e-5)
      continue
    np.testing.assert_array_equal(gradient[place], np.zeros(variable.shape))
    expected, old = variable.numpy(), 0.9 * weights[place]
    if variable is layer.moving_variance and len(layer.input_shape) == 2:
      expected = old + (expected - old) * count / (count - 1)  # Keras's is unbiased for images only
    np.testing.assert_allclose(statistics[place], expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_many_examples_is_that_of_training():
  local = local_model(mlp_bn().build(Task(SHAPE, 10), seed=0))
  weights, batch = away_from_the_start(mlp_bn().build(Task(SHAPE, 10), seed=0)), random_batch(20)
  full = local.build_gradient()(weights, (), batch, tf.constant(20))
  step = local.build_step()(weights, (), batch, tf.constant(20)).gradient
  for a, b in zip(full, step, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize('factory', [logistic, mlp_bn])
def test_losses_are_those_of_evaluation(factory):
  model = factory().build(Task(SHAPE, 10), seed=0)
  local, weights, batch = local_model(model), away_from_the_start(model), random_batch(5)
  logits = model.logits(weights, batch['x']).numpy()
  expected = np.log(np.exp(logits).sum(axis=1)) - logits[range(5), batch['y']]
  np.testing.assert_allclose(local.losses(weights, (), batch), expected[:, np.newaxis], rtol=1e-5)
  assert len(local.normalisation) == len(weights)
  assert any(local.normalisation) == (factory is mlp_bn)


# At zero weights each of two classes has probability 1/2: an example's gradient by the bias is +1/2 for the class that
# is not its label, and -1/2 for its label.
BATCH = {'x': tf.constant([[2.0], [4.0], [99.0]]), 'y': tf.constant([0, 1, 0], tf.int32)}  # the last one is padding


def test_responsibilities_weigh_each_models_loss():
  local = local_model(mixture(logistic(), 2).build(Task((1,), 2), seed=0))
  q = tf.constant([[0.75, 0.25], [0.5, 0.5], [0.9, 0.1]])
  weights = tuple(tf.zeros(w.shape) for w in local.initial_weights.trainable)
  np.testing.assert_allclose(local.losses(weights, (), BATCH), np.full((3, 2), np.log(2)), rtol=1e-6)
  gradient, statistics = local.build_step()(weights, (), BATCH, tf.constant(2), example_weights=q)
  kernel_0, bias_0, kernel_1, bias_1 = gradient
  assert statistics == {}
  # (q_1 (-1/2) + q_2 (1/2)) / 2 by the bias of class 0, and with the factors x = 2 and 4 by its kernel
  np.testing.assert_allclose(bias_0, [-0.0625, 0.0625])
  np.testing.assert_allclose(bias_1, [0.0625, -0.0625])
  np.testing.assert_allclose(kernel_0[:, 0], [0.125, -0.125])
  np.testing.assert_allclose(kernel_1[:, 0], [0.375, -0.375])


@pytest.mark.parametrize('factor', [1.0, 3.0])
def test_the_weights_of_the_examples_of_any_other_model(factor):
  local = local_model(logistic().build(Task((1,), 2), seed=0))
  weights = tuple(tf.zeros(w.shape) for w in local.initial_weights.trainable)
  example_weights = factor * tf.constant([[0.75], [0.5], [0.9]])
  kernel, bias = local.build_step()(weights, (), BATCH, tf.constant(2), example_weights=example_weights).gradient
  np.testing.assert_allclose(bias, factor * np.float32([-0.0625, 0.0625]))  # divided by the number, not the weights
  np.testing.assert_allclose(kernel[:, 0], factor * np.float32([0.125, -0.125]))


def test_without_responsibilities_a_mixture_has_its_own_loss():
  model = mixture(logistic(), 2).build(Task(SHAPE, 10), seed=0)
  weights, batch = away_from_the_start(model), random_batch(6)
  with tf.GradientTape() as tape:
    tape.watch(weights)
    p = tf.reduce_mean(tf.nn.softmax(model.component_logits(weights, batch['x'])), axis=1)
    loss = -tf.reduce_mean(tf.math.log(tf.gather(p, batch['y'], batch_dims=1)))
  expected = tape.gradient(loss, weights)
  gradient = local_model(model).build_step()(weights, (), batch, tf.constant(6)).gradient
  for a, b in zip(gradient, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize('q', [None, 1.0])
def test_a_mixture_of_one_learns_as_the_model(q):
  plain, one = (local_model(each.build(Task(SHAPE, 10), seed=0)) for each in (logistic(), mixture(logistic(), 1)))
  weights, batch = tensors(plain.initial_weights.trainable), random_batch(10)
  example_weights = None if q is None else tf.fill([10, 1], q)
  a = plain.build_step()(weights, (), batch, tf.constant(8)).gradient
  b = one.build_step()(weights, (), batch, tf.constant(8), example_weights=example_weights).gradient
  for ours, same in zip(a, b, strict=True):
    np.testing.assert_allclose(ours, same, atol=1e-6)
  np.testing.assert_allclose(plain.losses(weights, (), batch), one.losses(weights, (), batch), rtol=1e-5)


def variable_model():
  layer = tf.keras.layers.Dense(10)
  keras_model = tf.keras.Sequential([tf.keras.layers.InputLayer([64]), layer])
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  spec = {'x': tf.TensorSpec([None, 64], tf.float32), 'y': tf.TensorSpec([None], tf.int32)}
  return tff.learning.models.from_keras_model(keras_model, loss=loss, input_spec=spec)


@pytest.mark.parametrize('model', [functional_model(logistic().build(Task((64,), 10), seed=0)), variable_model])
def test_tffs_models_know_only_the_loss_of_a_batch(model):
  local = local_model(model)
  assert local.losses is None
  assert local.normalisation == (False, False)
  weights, batch = tensors(local.initial_weights.trainable), random_batch(4, shape=(64,))

  full, step = local.build_gradient(), local.build_step()
  gradient, statistics = step(weights, (), batch, tf.constant(3))
  assert statistics == {}
  for a, b in zip(gradient, full(weights, (), batch, tf.constant(3)), strict=True):
    assert np.abs(a).max() > 0
    np.testing.assert_array_equal(a, b)
  with pytest.raises(ValueError, match='example_weights'):
    step(weights, (), batch, tf.constant(3), example_weights=tf.ones([4, 1]))


@pytest.mark.parametrize('mu', [0.0, 1.0])
def test_running_statistics_follow_the_batches_of_the_local_steps(mu):
  model, batch, count = mlp_bn().build(Task(SHAPE, 10), seed=0), random_batch(6), tf.constant(6)
  optimizer = tff.learning.optimizers.build_sgdm(0.1)
  process = build_process(fedprox(mu=mu), model, client_optimizer=optimizer)
  payload = client_payload({k: v.numpy() for k, v in batch.items()}, num_epochs=2, batch_size=8, key=(0, 0, 0))
  state, _ = process.next(process.initialize(), [payload])

  weights = anchor = tensors(model.initial_weights)
  for _ in range(2):  # in the second step the proximal term would pull the statistics back
    gradient, statistics = local_model(model).build_step()(weights, (), batch, count)
    stepped = (w - 0.1 * (g + mu * (w - a)) for w, g, a in zip(weights, gradient, anchor, strict=True))
    weights = tuple(statistics.get(place, w) for place, w in enumerate(stepped))
  for ours, theirs in zip(process.get_model_weights(state).trainable, weights, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dropout', [0.0, 0.5])
@pytest.mark.parametrize('name', ['convnet2', 'gin'])
def test_no_gradient_is_of_running_statistics(name, dropout):
  """With dropout, the gradient over all of a client's examples is of the network as it is evaluated."""
  task = task_for(name)
  model = MODELS[name](hidden_units=4, dropout=dropout).build(task, seed=0)
  weights = away_from_the_start(model)
  rng = np.random.default_rng(0)
  batch = {
    'x': tf.constant(rng.integers(0, 4, (5, *task.input_shape)), tf.float32),
    'y': tf.constant(rng.integers(0, task.num_classes, 5), tf.int32),
  }
  local = local_model(model._replace(input_type='float32'))
  step = local.build_step()(weights, (), batch, 5, key=tf.constant([1, 2]))
  assert step.statistics
  for gradient in (step.gradient, local.build_gradient()(weights, (), batch, 5)):
    for i, g in enumerate(gradient):
      assert (i in step.statistics) == (not np.any(g)), i


@pytest.mark.parametrize('name', ['moon_cnn', 'mlp_bn', 'convnet2'])
def test_features_are_what_the_last_layer_gets_to_see(name):
  """In evaluation, and in a local step, where normalisation is by the batch's examples and units drop out."""
  task = task_for(name)
  model = MODELS[name]().build(task, seed=0)
  weights, batch, key = away_from_the_start(model), random_batch(5, shape=task.input_shape), tf.constant([1, 2])
  features, (kernel, bias) = local_model(model).features, weights[-2:]
  z = features(weights, (), batch)
  assert z.shape == (5, kernel.shape[0])
  np.testing.assert_allclose(z @ kernel + bias, model.logits(weights, batch['x']), rtol=1e-4, atol=1e-4)
  z = features(weights, (), batch, count=tf.constant(3), key=key)
  seen = model.step_logits(weights, batch['x'])
  if model.train_logits is not None:
    assert not np.allclose(z @ kernel + bias, seen, rtol=1e-2)
    seen, _ = model.train_logits(weights, batch['x'], tf.constant([1.0, 1, 1, 0, 0]), key)
  np.testing.assert_allclose((z @ kernel + bias)[:3], seen[:3], rtol=1e-4, atol=1e-4)
