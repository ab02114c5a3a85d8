# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Inputs, Task
from fedprox_tff.models import gin
from tests.tasks import GRAPHS, TEXT

# A path of three nodes; one node alone; a triangle with a fourth node at its third. As `Inputs` describes graphs.
X = np.zeros((3, *GRAPHS.input_shape), np.int16)
X[0, :3, :3] = [[1, 2, 0], [3, 1, 3], [1, 2, 0]]
X[1, 0, 0] = 2
X[2, :4, :4] = [[5, 2, 3, 0], [5, 1, 3, 0], [4, 1, 2, 4], [1, 3, 0, 0]]

ADJACENCY = (
  np.float64([[0, 1, 0], [1, 0, 1], [0, 1, 0]]),
  np.zeros((1, 1)),
  np.float64([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]]),
)
KINDS = ([1, 3, 1], [2], [5, 5, 4, 1])


def weights_of(model, seed=0):
  """Weights none of which is zero or one, variances above zero; in float64."""
  rng = np.random.default_rng(seed)
  return [np.abs(w + rng.normal(0, 0.3, w.shape)) if w.ndim == 1 else w + 0.0 for w in model.initial_weights]


def tensors(arrays):
  return tuple(tf.constant(array, tf.float32) for array in arrays)


def forward(weights, num_layers, normalise):
  """The network in plain numpy, over the graphs of `X` one by one; `normalise` gets the rows of all of them."""
  encoder, encoder_bias, *layers = weights
  *layers, hidden, hidden_bias, output, output_bias = layers
  states = [encoder[np.array(kinds) - 1] + encoder_bias for kinds in KINDS]
  cuts = np.cumsum([len(h) for h in states])[:-1]
  for layer in range(num_layers):
    kernel_1, *norm, kernel_2, bias = layers[7 * layer : 7 * layer + 7]
    states = [np.maximum(h, 0) if layer else h for h in states]
    states = [(h + a @ h) @ kernel_1 for h, a in zip(states, ADJACENCY, strict=True)]
    rows = np.maximum(normalise(np.concatenate(states), *norm), 0) @ kernel_2 + bias
    states = np.split(rows, cuts)
  means = np.stack([h.mean(axis=0) for h in states])
  return np.maximum(means @ hidden + hidden_bias, 0) @ output + output_bias


def by_running_statistics(rows, gamma, beta, mean, variance):
  return gamma * (rows - mean) / np.sqrt(variance + 1e-5) + beta


def by_the_batch(rows, gamma, beta, mean, variance):
  return gamma * (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5) + beta


def test_number_of_parameters():
  def count(kinds):
    model = gin().build(Task((111, 7), 2, Inputs('graphs', vocabulary=kinds + 1)), seed=0)
    return sum(w.size for w in model.initial_weights)

  assert count(54) == 24_834
  # 23,938 with 38 kinds, where FederatedScope's layers have a bias before the normalisation too, 64 each.
  assert count(38) == 23_938 - 2 * 64


@pytest.mark.parametrize('num_layers', [1, 2, 3])
def test_evaluation_is_the_formula(num_layers):
  model = gin(hidden_units=5, num_layers=num_layers).build(GRAPHS, seed=0)
  weights = weights_of(model)
  expected = forward(weights, num_layers, by_running_statistics)
  np.testing.assert_allclose(model.logits(tensors(weights), X), expected, rtol=1e-5, atol=1e-5)


def test_a_local_step_normalises_over_the_nodes_of_all_examples():
  model = gin(hidden_units=5, dropout=0.0).build(GRAPHS, seed=0)
  weights = weights_of(model)
  logits, statistics = model.train_logits(tensors(weights), X, np.ones(3, np.float32), None)
  np.testing.assert_allclose(logits, forward(weights, 2, by_the_batch), rtol=1e-5, atol=1e-5)
  rows = []
  forward(weights, 2, lambda z, *norm: rows.append(z) or by_the_batch(z, *norm))
  assert sorted(statistics) == [5, 6, 12, 13]
  for z, place in zip(rows, (5, 12), strict=True):
    assert len(z) == 8  # the nodes of the three graphs
    np.testing.assert_allclose(statistics[place], 0.9 * weights[place] + 0.1 * z.mean(axis=0), rtol=1e-5, atol=1e-6)
    unbiased = z.var(axis=0, ddof=1)
    np.testing.assert_allclose(statistics[place + 1], 0.9 * weights[place + 1] + 0.1 * unbiased, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dropout', [0.0, 0.5])
@pytest.mark.parametrize('filling', [np.zeros_like(X[:2]), X[[2, 0]]])
def test_padding_examples_change_nothing(dropout, filling):
  model = gin(hidden_units=5, dropout=dropout).build(GRAPHS, seed=0)
  weights, key = tensors(weights_of(model)), tf.constant([3, 4]) if dropout else None
  alone, statistics = model.train_logits(weights, X, np.ones(3, np.float32), key)
  padded = np.concatenate([X, filling])
  logits, others = model.train_logits(weights, padded, np.float32([1, 1, 1, 0, 0]), key)
  np.testing.assert_allclose(logits[:3], alone, rtol=1e-5, atol=1e-6)
  for place, value in statistics.items():
    np.testing.assert_allclose(others[place], value, rtol=1e-5, atol=1e-6)


def test_empty_places_change_nothing():
  tight = Task((4, 1 + 3), 2, GRAPHS.inputs)
  wide, narrow = (gin(hidden_units=5, dropout=0.0).build(task, seed=0) for task in (GRAPHS, tight))
  weights, mask = tensors(weights_of(wide)), np.ones(3, np.float32)
  small = np.ascontiguousarray(X[:, :4, :4])
  np.testing.assert_allclose(narrow.logits(weights, small), wide.logits(weights, X), rtol=1e-6)
  np.testing.assert_allclose(
    narrow.train_logits(weights, small, mask, None)[0], wide.train_logits(weights, X, mask, None)[0], rtol=1e-6
  )


def shuffled(table, order):
  """The same graph with node order[i] in place i."""
  place = np.concatenate([[0], 1 + np.argsort(order)])
  made = np.zeros_like(table)
  made[: len(order), 0] = table[order, 0]
  made[: len(order), 1:] = place[table[order, 1:]]
  return made


def test_the_order_of_nodes_and_of_neighbours_does_not_matter():
  model = gin(hidden_units=5).build(GRAPHS, seed=0)
  weights = tensors(weights_of(model))
  other = X.copy()
  other[2] = shuffled(X[2], [3, 1, 0, 2])
  assert other[2, :4, 0].tolist() == [1, 5, 5, 4]
  assert sorted(other[2, 3]) == [0, 1, 2, 3, 4]  # the third node of the triangle knows the three others
  other[2, 3, 1:] = [0, 3, 1, 2]
  np.testing.assert_allclose(model.logits(weights, other), model.logits(weights, X), rtol=1e-5)
  cut = other.copy()
  cut[2, 3, 1:], cut[2, 0, 1:] = [0, 3, 0, 2], 0  # without the fourth node's edge
  assert np.abs(model.logits(weights, cut) - model.logits(weights, X))[2].max() > 1e-2


def test_dropout_follows_the_key():
  model = gin(hidden_units=32).build(GRAPHS, seed=0)
  weights, mask = tensors(model.initial_weights), np.ones(3, np.float32)
  keys = ([0, 1], [0, 1], [1, 1])
  (first, statistics), (again, _), (other, others) = (
    model.train_logits(weights, X, mask, tf.constant(key)) for key in keys
  )
  assert np.array_equal(first, again)
  assert not np.allclose(first, other, atol=1e-2)
  # Units drop out between the two layers too, and not before.
  assert np.array_equal(statistics[5], others[5])
  assert not np.allclose(statistics[12], others[12], atol=1e-3)
  assert model.draws
  assert not gin(dropout=0.0).build(GRAPHS, seed=0).draws


def test_dropout_leaves_the_mean_of_a_linear_network():
  """With one layer only the classifier's units drop out, behind which all is linear."""
  model = gin(hidden_units=8, num_layers=1, dropout=0.25).build(GRAPHS, seed=0)
  weights, mask = tensors(weights_of(model)), np.ones(3, np.float32)
  plain = gin(hidden_units=8, num_layers=1, dropout=0.0).build(GRAPHS, seed=0)
  expected, _ = plain.train_logits(weights, X, mask, None)
  draw = tf.function(lambda key: model.train_logits(weights, X, mask, key)[0])
  drawn = np.stack([draw(tf.constant([0, i])) for i in range(2000)])
  error = 5 * drawn.std(axis=0) / np.sqrt(len(drawn))
  assert error.max() < 0.2
  assert np.all(np.abs(drawn.mean(axis=0) - expected) < error + 1e-6)


def test_the_encoder_and_the_last_layer_are_the_tasks_own():
  model = gin(hidden_units=5).build(GRAPHS, seed=0)
  own = [w.shape for w, is_own in zip(model.initial_weights, model.task_layers, strict=True) if is_own]
  assert own == [(5, 5), (5,), (5, 2), (2,)]
  assert model.task_layers[:2] == model.task_layers[-2:] == (True, True)
  assert [i for i, is_norm in enumerate(model.normalisation) if is_norm] == [3, 4, 5, 6, 10, 11, 12, 13]


def test_other_examples_are_refused():
  with pytest.raises(ValueError, match=r'The model gin needs graphs, not tokens\.'):
    gin().build(TEXT, seed=0)


def test_gradient_descent_tells_triangles_from_paths():
  x, y = np.zeros((2, *GRAPHS.input_shape), np.int16), np.int32([0, 1])
  x[0, :3, :3] = [[1, 2, 0], [1, 1, 3], [1, 2, 0]]
  x[1, :3, :3] = [[1, 2, 3], [1, 1, 3], [1, 1, 2]]
  model = gin(hidden_units=8, dropout=0.0).build(GRAPHS, seed=0)

  @tf.function
  def step(weights):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      logits, statistics = model.train_logits(weights, x, np.ones(2, np.float32), None)
      loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
    gradient = tape.gradient(loss, weights, unconnected_gradients='zero')
    moved = [w - 0.1 * tf.convert_to_tensor(g) for w, g in zip(weights, gradient, strict=True)]
    return [statistics.get(i, w) for i, w in enumerate(moved)]

  weights = list(tensors(model.initial_weights))
  for _ in range(60):
    weights = step(weights)
  assert np.argmax(model.logits(weights, x), axis=1).tolist() == [0, 1]
