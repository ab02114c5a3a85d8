# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Inputs, Task
from fedprox_tff.models import lstm, lstm_sentiment, recurrent
from tests.tasks import GRAPHS, IMAGES, SENTIMENTS, TEXT

LETTERS = Task((80,), 80, Inputs('tokens', vocabulary=80))
PLACES = TEXT._replace(label_shape=TEXT.input_shape)
LENGTH, BATCH, INPUTS, UNITS = 7, 3, 4, 5


def tensors(arrays):
  return tuple(map(tf.constant, arrays))


def tokens(task, num_texts, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, task.inputs.vocabulary, (num_texts, *task.input_shape), dtype=np.uint8)


def with_vectors(task, size):
  vectors = np.random.default_rng(5).normal(size=(task.inputs.vocabulary, size)).astype(np.float32)
  return task._replace(inputs=Inputs('tokens', task.inputs.vocabulary, vectors=vectors))


@pytest.fixture
def layer():
  """x, kernel and bias of an LSTM, and what each of its outputs counts for in a loss."""
  rng = np.random.default_rng(1)
  shapes = [(LENGTH, BATCH, INPUTS), (INPUTS + UNITS, 4 * UNITS), (4 * UNITS,), (LENGTH, BATCH, UNITS)]
  return tensors(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def run(scan, x, kernel, bias, shares):
  """Returns the outputs, and the gradients of a loss that each of them has a share in."""
  with tf.GradientTape() as tape:
    tape.watch((x, kernel, bias))
    h = scan(x, kernel, bias)
    loss = tf.reduce_sum(h * shares)
  return h, *tape.gradient(loss, (x, kernel, bias))


def keras(x, kernel, bias, shares):
  """The same by Keras, which has the gates in the order i, f, j, o and the forget bias in the bias."""

  def reordered(array):
    i, second, third, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, third, second, o], axis=-1)

  cells = tf.keras.layers.LSTM(UNITS, return_sequences=True)
  cells(tf.zeros([1, LENGTH, INPUTS]))  # makes its weights
  biases = reordered(bias.numpy())
  biases[UNITS : 2 * UNITS] += 1
  cells.set_weights([reordered(kernel[:INPUTS].numpy()), reordered(kernel[INPUTS:].numpy()), biases])
  with tf.GradientTape() as tape:
    tape.watch(x)
    h = tf.transpose(cells(tf.transpose(x, [1, 0, 2])), [1, 0, 2])
    loss = tf.reduce_sum(h * shares)
  d_x, *d_kernels, d_bias = tape.gradient(loss, (x, *cells.trainable_weights))
  return h, d_x, reordered(tf.concat(d_kernels, axis=0).numpy()), reordered(d_bias.numpy())


@pytest.mark.parametrize('jit_compile', [False, True])
def test_a_layer_and_its_gradient_are_those_of_keras(layer, jit_compile):
  compiled = tf.function(lambda *args: run(recurrent.lstm_layer, *args), jit_compile=jit_compile)
  for ours, theirs in zip(compiled(*layer), keras(*layer), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_one_unit_by_hand():
  z = [0.5, -0.25, 0.75, 1.5]  # i, j, f, o for x = 1 and h = 0
  kernel, bias = tf.constant([z, [1.0, 0.5, -1.0, 2.0]]), tf.constant([0.0, 0.5, 0.0, 0.0])
  c_1 = np.tanh(0.25) / (1 + np.exp(-0.5))
  h_1 = np.tanh(c_1) / (1 + np.exp(-1.5))
  c_2 = c_1 / (1 + np.exp(-(0.75 - h_1 + 1))) + np.tanh(0.25 + 0.5 * h_1) / (1 + np.exp(-(0.5 + h_1)))
  h_2 = np.tanh(c_2) / (1 + np.exp(-(1.5 + 2 * h_1)))
  np.testing.assert_allclose(tf.squeeze(recurrent.lstm_layer(tf.ones([2, 1, 1]), kernel, bias)), [h_1, h_2], rtol=1e-6)


@pytest.mark.parametrize('vocabulary', [20, 300])
def test_an_embedding_looks_tokens_up(vocabulary):
  table = np.random.default_rng(0).normal(size=(vocabulary, 4)).astype(np.float32)
  texts = np.array([[3, 0, 19], [1, 1, 7]])
  np.testing.assert_array_equal(recurrent.embed(tf.constant(table), tf.constant(texts)), table[texts.T])


def test_numbers_of_parameters():
  shakespeare = lstm().build(LETTERS, seed=0)
  assert [w.shape for w in shakespeare.initial_weights] == [
    *[(80, 8), (264, 1024), (1024,), (512, 1024), (1024,), (256, 80), (80,)]
  ]
  assert sum(w.size for w in shakespeare.initial_weights) == 817_872
  sent140 = lstm_sentiment().build(with_vectors(SENTIMENTS, 300), seed=0)
  assert sum(w.size for w in sent140.initial_weights) == 243_861
  assert [w.shape for w in sent140.frozen] == [(20, 300)]


@pytest.mark.parametrize('factory', [lstm, lstm_sentiment])
def test_kernels_are_spread_as_glorot_says_and_biases_are_zero(factory):
  model = factory(hidden_units=100, num_layers=1).build(SENTIMENTS, seed=0)
  for weight in model.initial_weights:
    if weight.ndim == 1:
      assert not weight.any()
    else:
      limit = np.sqrt(6 / sum(weight.shape))
      assert 0.9 * limit < np.abs(weight).max() <= limit


def test_the_class_is_told_from_the_last_place():
  model = lstm(hidden_units=6).build(TEXT, seed=0)
  weights, texts = tensors(model.initial_weights), tokens(TEXT, 4)
  logits = model.logits(weights, texts)
  assert logits.shape == (4, 20)
  embedding, *layers, kernel, bias = weights
  h = recurrent.hidden_states(embedding, layers, texts)
  np.testing.assert_allclose(logits, h[-1] @ kernel + bias, rtol=1e-6)


def test_a_label_at_each_place_is_told_from_what_stands_before():
  last, each = (lstm(hidden_units=6).build(task, seed=0) for task in (TEXT, PLACES))
  weights, texts = tensors(last.initial_weights), tokens(TEXT, 4)
  logits = each.logits(weights, texts).numpy()
  assert logits.shape == (4, 12, 20)
  assert each.label_shape == (12,)
  np.testing.assert_allclose(logits[:, -1], last.logits(weights, texts), rtol=1e-5, atol=1e-7)
  texts[:, 5] += 1
  texts %= 20
  changed = each.logits(weights, texts).numpy()
  np.testing.assert_allclose(changed[:, :5], logits[:, :5], rtol=1e-6, atol=1e-7)
  assert np.abs(changed[:, 5:] - logits[:, 5:]).max(axis=(0, 2)).min() > 1e-5


@pytest.mark.parametrize('factory', [lstm, lstm_sentiment])
def test_vectors_of_words_are_frozen_and_take_the_place_of_an_embedding(factory):
  model = factory(hidden_units=6, num_layers=1).build(with_vectors(SENTIMENTS, 9), seed=0)
  assert model.initial_weights[0].shape == (9 + 6, 24)
  weights, texts = tensors((*model.initial_weights, *model.frozen)), tokens(SENTIMENTS, 3)
  logits = model.logits(weights, texts)
  other = tensors((*model.initial_weights, 2 * model.frozen[0]))
  assert np.abs(model.logits(other, texts) - logits).max() > 1e-4
  h = recurrent.lstm_layer(tf.constant(model.frozen[0][texts.T]), *weights[:2])[-1]
  head = weights[2:-1]
  expected = h @ head[0] + head[1]
  if factory is lstm_sentiment:
    expected = tf.pad(expected @ head[2] + head[3], [[0, 0], [1, 0]])
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-7)


def test_two_logits_have_the_loss_of_one_sigmoid():
  model = lstm_sentiment(hidden_units=6).build(SENTIMENTS, seed=3)
  logits = model.logits(tensors(model.initial_weights), tokens(SENTIMENTS, 5))
  assert logits.shape == (5, 2)
  assert not logits[:, 0].numpy().any()
  labels = np.int32([0, 1, 1, 0, 1])
  softmax = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
  sigmoid = np.log1p(np.exp(np.where(labels == 1, -logits[:, 1], logits[:, 1])))
  np.testing.assert_allclose(softmax, sigmoid, rtol=1e-6)


@pytest.mark.parametrize('num_layers', [1, 3])
def test_layers_are_stacked(num_layers):
  model = lstm(num_layers=num_layers, hidden_units=4, embedding_size=3).build(TEXT, seed=0)
  shapes = [(20, 3), (7, 16), (16,), *[(8, 16), (16,)] * (num_layers - 1), (4, 20), (20,)]
  assert [w.shape for w in model.initial_weights] == shapes
  assert model.logits(tensors(model.initial_weights), tokens(TEXT, 2)).shape == (2, 20)


def test_a_local_step_is_the_same_compiled_and_not_for_any_number_of_texts():
  model = lstm(hidden_units=6).build(TEXT, seed=0)
  weights, texts = tensors(model.initial_weights), tokens(TEXT, 9)

  def step(weights, texts):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.cast(texts[:, 0], tf.int32), model.logits(weights, texts)
      )
    return tape.gradient(losses, weights)

  spec = [tf.TensorSpec([None, 12], tf.uint8)]
  plain, compiled = (
    tf.function(lambda texts: step(weights, texts), input_signature=spec, jit_compile=jit) for jit in (False, True)
  )
  for number in (9, 1):
    for a, b in zip(plain(texts[:number]), compiled(texts[:number]), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('factory', [lstm, lstm_sentiment])
@pytest.mark.parametrize(
  ('task', 'what'), [(IMAGES._replace(num_classes=2), 'features'), (GRAPHS._replace(num_classes=2), 'graphs')]
)
def test_an_lstm_needs_text(factory, task, what):
  with pytest.raises(ValueError, match=f'model {factory.__name__} needs text, places in a vocabulary, not {what}'):
    factory().build(task, seed=0)


@pytest.mark.parametrize(
  ('task', 'what'), [(TEXT, '20 classes'), (SENTIMENTS._replace(label_shape=(12,)), 'a class at each of its places')]
)
def test_a_sentiment_is_one_of_two(task, what):
  with pytest.raises(ValueError, match=f'lstm_sentiment tells two classes of texts apart, not {what}'):
    lstm_sentiment().build(task, seed=0)
