# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Task
from fedprox_tff.models import MODELS, cnn, cnn_bn, convnet2, fedbn_cnn, logistic, mlp_bn, resnet_cifar
from fedprox_tff.models.base import glorot_uniform, has_features
from fedprox_tff.models.batch_norm import BatchNorm, with_batch_norm
from fedprox_tff.models.mixture import mixture
from tests.tasks import task_for

STATISTICS = (np.float32([10, -1]), np.float32([1, 2]))  # running mean and variance of two channels


def tensors(arrays):
  return tuple(map(tf.constant, arrays))


@pytest.mark.parametrize(
  ('name', 'number'), [('cnn', 1_663_370), ('cnn_bn', 1_665_194), ('logistic', 7_850), ('mlp_bn', 102_154)]
)
def test_numbers_of_parameters(name, number):
  assert sum(w.size for w in MODELS[name]().build(Task((28, 28, 1), 10), seed=0).initial_weights) == number


@pytest.mark.parametrize('name', MODELS)
def test_initial_weights_are_drawn_from_the_seed(name):
  build = MODELS[name]().build
  first, again, other = (build(task_for(name), seed=seed).initial_weights for seed in (0, 0, 1))
  assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
  assert not np.array_equal(first[0], other[0])
  assert all(w.dtype == np.float32 for w in first)


@pytest.mark.parametrize(('shape', 'fans'), [((784, 10), 794), ((5, 5, 32, 64), 25 * 96)])
def test_glorot_uniform(shape, fans):
  kernel = glorot_uniform(np.random.default_rng(0), shape)
  limit = np.sqrt(6 / fans)
  assert 0.98 * limit < np.abs(kernel).max() <= limit
  assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
  ('name', 'shape'),
  [
    ('logistic', (8, 8, 1)),
    ('logistic', (60,)),
    ('cnn', (7, 9, 3)),
    ('cnn_bn', (7, 9, 3)),
    ('mlp_bn', (8, 8, 1)),
    ('mlp_bn', (60,)),
  ],
)
def test_logits_have_one_column_a_class(name, shape):
  model = MODELS[name]().build(Task(shape, 5), seed=0)
  assert model.logits(model.initial_weights, np.ones((3, *shape), np.float32)).shape == (3, 5)


@pytest.mark.parametrize(('name', 'num_classes'), [('logistic', 3), ('logistic', 20), ('cnn', 3)])
def test_a_local_step_sees_the_same_logits(name, num_classes):
  model = MODELS[name]().build(Task((4, 5, 1), num_classes), seed=0)
  x = np.random.default_rng(0).normal(size=(10, 4, 5, 1)).astype(np.float32)
  weights = tuple(map(tf.constant, model.initial_weights))
  np.testing.assert_allclose(model.step_logits(weights, x), model.logits(weights, x), atol=1e-6)


@pytest.mark.parametrize(
  'name', ['cnn', 'cnn_bn', 'convnet2', 'fedbn_cnn', 'moon_cnn', 'resnet18', 'resnet_cifar', 'vgg']
)
def test_a_convolution_needs_images(name):
  with pytest.raises(
    ValueError, match=rf'model {name} needs images \(height, width, channels\), not features of shape \(60,\)'
  ):
    MODELS[name]().build(Task((60,), 10), seed=0)


@pytest.mark.parametrize('name', MODELS)
def test_every_network_has_features_but_logistic_regression(name):
  model = MODELS[name]().build(task_for(name), seed=0)
  assert has_features(model) == (name != 'logistic')
  assert not has_features(model._replace(label_shape=(3,)))  # an answer to each place
  everything = (True,) * len(model.initial_weights)
  assert not has_features(model._replace(head=everything))
  assert not has_features(model._replace(head=(*everything[:-1], False)))  # no bias, or more than a kernel
  assert not has_features(model._replace(component_logits=model.logits))


def normaliser(num_channels):
  """Returns the model that only normalises its input."""
  return with_batch_norm(
    'normaliser', [BatchNorm(num_channels)], lambda parts, x: parts[0](x), (num_channels,), jit_compile=False
  )


def test_a_batch_is_normalised_by_the_statistics_of_its_examples():
  x = np.float32([[1, 0], [3, 0], [5, 6], [99, -99]])  # means 3 and 2, squared distances 8 and 24; the last is padding
  weights = tensors([np.float32([2, 1]), np.float32([1, 0]), *STATISTICS])
  y, statistics = normaliser(2).train_logits(weights, x, np.float32([1, 1, 1, 0]), None)
  expected = np.stack([1 + 2 * (x[:3, 0] - 3) / np.sqrt(8 / 3 + 1e-5), (x[:3, 1] - 2) / np.sqrt(8 + 1e-5)], axis=1)
  np.testing.assert_allclose(y[:3], expected, rtol=1e-6)
  assert statistics.keys() == {2, 3}
  np.testing.assert_allclose(statistics[2], [9 + 0.3, -0.9 + 0.2], rtol=1e-6)
  np.testing.assert_allclose(statistics[3], [0.9 + 0.1 * 8 / 2, 1.8 + 0.1 * 24 / 2], rtol=1e-6)


def test_evaluation_normalises_by_the_running_statistics():
  weights = tensors([np.float32([2, 1]), np.float32([1, 0]), *STATISTICS])
  y = normaliser(2).logits(weights, np.float32([[11, 3]]))
  np.testing.assert_allclose(y, [[1 + 2 / np.sqrt(1 + 1e-5), 4 / np.sqrt(2 + 1e-5)]], rtol=1e-6)


@pytest.mark.parametrize(('mask', 'mean', 'unbiased'), [([1, 1], 4.0, 20 / 3), ([1, 0], 2.0, 2.0)])
def test_each_place_of_an_image_is_a_value_of_its_channel(mask, mean, unbiased):
  x = np.float32([1, 3, 5, 7]).reshape(2, 2, 1, 1)
  model = normaliser(1)
  y, statistics = model.train_logits(tensors(model.initial_weights), x, np.float32(mask), None)
  assert y.shape == x.shape
  np.testing.assert_allclose(statistics[2], [0.1 * mean], rtol=1e-6)
  np.testing.assert_allclose(statistics[3], [0.9 + 0.1 * unbiased], rtol=1e-6)


def test_one_value_has_no_variance():
  weights = tensors([np.float32([2, 1]), np.float32([1, 0]), *STATISTICS])
  y, statistics = normaliser(2).train_logits(weights, np.float32([[4, 7], [0, 0]]), np.float32([1, 0]), None)
  np.testing.assert_array_equal(y[0], [1, 0])
  np.testing.assert_allclose(statistics[2], [9.4, -0.2], rtol=1e-6)
  np.testing.assert_array_equal(statistics[3], STATISTICS[1])


def test_a_negative_variance_counts_as_zero():
  model = normaliser(1)
  x = np.float32([[0.5]])
  negative, zero = (model.logits(tensors(np.float32([[1], [0], [0], [v]])), x) for v in (-0.3, 0))
  np.testing.assert_array_equal(negative, zero)
  np.testing.assert_allclose(zero, [[0.5 / np.sqrt(1e-5)]], rtol=1e-6)


@pytest.mark.parametrize(('factory', 'places'), [(mlp_bn, [1]), (cnn_bn, [1, 6, 11]), (cnn, []), (logistic, [])])
def test_normalisation_marks_all_four_weights_of_a_layer(factory, places):
  model = factory().build(Task((8, 8, 1), 10), seed=0)
  if not places:
    assert model.normalisation == ()
    return
  marked = {place + i for place in places for i in range(4)}
  assert [place for place, is_norm in enumerate(model.normalisation) if is_norm] == sorted(marked)
  assert len(model.normalisation) == len(model.initial_weights)
  mask, x = np.ones(2, np.float32), np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
  _, statistics = model.train_logits(tensors(model.initial_weights), x, mask, None)
  assert statistics.keys() == {place + i for place in places for i in (2, 3)}
  assert all(statistics[place].shape == model.initial_weights[place].shape for place in statistics)


@pytest.mark.parametrize(
  'architecture',
  [mlp_bn(), cnn_bn(), convnet2(hidden_units=32), fedbn_cnn(), resnet_cifar(depth=8, normalisation='batch')],
  ids=lambda architecture: architecture.name,
)
def test_padding_counts_for_nothing(architecture):
  model = architecture.build(Task((8, 8, 1), 10), seed=0)
  x = np.random.default_rng(0).normal(size=(2, 5, 8, 8, 1)).astype(np.float32)
  x[1, :3] = x[0, :3]
  mask, key = np.float32([1, 1, 1, 0, 0]), tf.constant([3, 5])
  (logits, statistics), (others, same) = (
    model.train_logits(tensors(model.initial_weights), batch, mask, key if model.draws else None) for batch in x
  )
  np.testing.assert_allclose(logits[:3], others[:3], atol=1e-5)
  assert not np.allclose(logits[3:], others[3:], atol=1e-2)
  assert len(statistics) == sum(model.normalisation) // 2
  for place, statistic in statistics.items():
    np.testing.assert_allclose(statistic, same[place], atol=1e-5)


def test_cnn_bn_starts_from_the_kernels_of_cnn():
  plain, normalised = (factory().build(Task((8, 8, 1), 10), seed=3).initial_weights for factory in (cnn, cnn_bn))
  for kernel, same in zip(plain[::2], (normalised[i] for i in (0, 5, 10, 15)), strict=True):
    np.testing.assert_array_equal(kernel, same)


def softmax(logits):
  exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return exp / exp.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize('pi', [None, (0.5, 0.2, 0.3), (0.0, 0.25, 0.75)])
def test_a_mixture_mixes_probabilities(pi):
  model = mixture(logistic(), 3).build(Task((4,), 5), seed=0)
  x = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
  z = np.stack([x @ kernel.T + bias for kernel, bias in zip(*[iter(model.initial_weights)] * 2, strict=True)], axis=1)
  weights = tensors(model.initial_weights if pi is None else (*model.initial_weights, np.float32(pi)))
  np.testing.assert_allclose(model.component_logits(weights, x), z, rtol=1e-5, atol=1e-6)
  expected = np.einsum('m,imc->ic', pi or (1 / 3, 1 / 3, 1 / 3), softmax(z))
  np.testing.assert_allclose(np.exp(model.logits(weights, x)), expected, rtol=1e-5)


def test_a_mixture_of_confident_models_has_finite_logits():
  model = mixture(logistic(), 2).build(Task((1,), 2), seed=0)
  kernels = np.float32([[1e4], [-1e4]]), np.float32([[2e4], [-2e4]])  # each gives class 1 a probability of 0 in float32
  weights = tensors((kernels[0], np.zeros(2, np.float32), kernels[1], np.zeros(2, np.float32)))
  np.testing.assert_allclose(model.logits(weights, np.float32([[1]])), [[0, -2e4 - np.log(2)]], rtol=1e-6)


def test_a_mixture_of_one_is_the_model():
  plain, one = (each.build(Task((4, 5, 1), 3), seed=2) for each in (logistic(), mixture(logistic(), 1)))
  assert all(np.array_equal(a, b) for a, b in zip(plain.initial_weights, one.initial_weights, strict=True))
  x = np.random.default_rng(0).normal(size=(6, 4, 5, 1)).astype(np.float32)
  weights = tensors(plain.initial_weights)
  np.testing.assert_allclose(one.logits(weights, x), tf.nn.log_softmax(plain.logits(weights, x)), atol=1e-6)


@pytest.mark.parametrize('factory', [logistic, cnn])
def test_a_mixtures_models_start_different(factory):
  first, two, three = (
    each.build(Task((4, 4, 1), 3), seed=1) for each in (factory(), mixture(factory(), 2), mixture(factory(), 3))
  )
  size = len(first.initial_weights)
  assert len(three.initial_weights) == 3 * size
  assert two.component_logits(two.initial_weights, np.zeros((6, 4, 4, 1), np.float32)).shape == (6, 2, 3)
  prefix = zip(first.initial_weights, two.initial_weights, three.initial_weights, strict=False)
  assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in prefix)
  assert all(np.array_equal(b, c) for b, c in zip(two.initial_weights, three.initial_weights, strict=False))
  kernels = [three.initial_weights[m * size] for m in range(3)]
  other = mixture(factory(), 2).build(Task((4, 4, 1), 3), seed=0).initial_weights[size]
  kernels.append(other)
  assert not any(np.array_equal(kernels[i], kernels[j]) for i in range(4) for j in range(i))


def test_there_are_no_mixtures_of_models_with_dropout():
  with pytest.raises(ValueError, match='cannot be made of convnet2 with dropout: --dropout=0 is needed'):
    mixture(convnet2(normalisation='none'), 2).build(Task((8, 8, 1), 10), seed=0)
  mixture(convnet2(normalisation='none', dropout=0.0), 2).build(Task((8, 8, 1), 10), seed=0)


@pytest.mark.parametrize('factory', [mlp_bn, cnn_bn])
def test_there_are_no_mixtures_of_models_with_batch_normalisation(factory):
  with pytest.raises(ValueError, match=f'cannot be made of {factory.__name__}: batch normalisation'):
    mixture(factory(), 2).build(Task((8, 8, 1), 10), seed=0)


def test_joint_logits_are_those_of_each_model():
  model = logistic().build(Task((8, 8, 1), 5), seed=0)
  rng = np.random.default_rng(0)
  several = [tensors(rng.normal(size=w.shape).astype(np.float32) for w in model.initial_weights) for _ in range(3)]
  x = rng.normal(size=(7, 8, 8, 1)).astype(np.float32)
  joint = model.joint_logits(tuple(map(tf.stack, zip(*several, strict=True))), x)
  assert joint.shape == (7, 3, 5)
  for m, weights in enumerate(several):
    np.testing.assert_allclose(joint[:, m], model.logits(weights, x), rtol=1e-5, atol=1e-5)


def test_models_of_many_classes_are_fast_one_by_one():
  assert logistic().build(Task((4,), 64), seed=0).joint_logits is not None
  assert logistic().build(Task((4,), 65), seed=0).joint_logits is None
