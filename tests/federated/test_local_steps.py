# SPDX-License-Identifier: Apache-2.0
"""What every method's local steps have in common: how gradients are cut, what is drawn at random, what is frozen."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ditto, fedavg, fedprox
from fedprox_tff.core import draws
from fedprox_tff.core.task import Inputs
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.passes import GradientRule
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models.base import Model
from fedprox_tff.models.preparation import prepared
from tests.problems import Federation, process


def line(initial, *, normalisation=(), frozen=()):
  """Returns the model of logits [0, sum w x], of one number w for each feature, and of what is frozen."""

  def logits(weights, x):
    z = tf.reduce_sum(x * tf.stack(list(weights[: len(initial)])), axis=1)
    for constant in weights[len(initial) :]:
      z += constant
    return tf.stack([tf.zeros_like(z), z], axis=1)

  arrays = tuple(map(np.float32, initial))
  return Model(
    'line', arrays, logits, logits, (len(initial),), jit_compile=False, normalisation=normalisation, frozen=frozen
  )


def sgd(rate):
  return tff.learning.optimizers.build_sgdm(rate)


def payload(x, y, **kwargs):
  examples = {'x': np.float32(x), 'y': np.int32(y)}
  return client_payload(examples, **{'num_epochs': 1, 'batch_size': 4, 'key': (0, 0, 0), **kwargs})


def after_one_step(algorithm, model, rule):
  """Returns the weights after a step of one client with x = (3, 4), label 0 and rate 0.5, and the federation."""
  federation = Federation(build_process(algorithm, model, client_optimizer=sgd(0.5), rule=rule))
  federation.play([payload([[3, 4]], [0])], weigh=lambda f: None)
  return [float(w) for w in federation.process.get_model_weights(federation.state).trainable], federation


def test_gradients_are_cut_to_their_norm_and_weights_decay_behind_the_cut():
  """At w = (0, 0) the logit is 0, p = 1/2, and of x = (3, 4) with label 0 the gradient is (1.5, 2), of norm 2.5."""
  with runtimes.use('in_process'):
    for clip, expected in ((None, (-0.75, -1.0)), (2.5, (-0.75, -1.0)), (1.0, (-0.3, -0.4)), (10.0, (-0.75, -1.0))):
      weights, _ = after_one_step(fedavg(), line([0, 0]), GradientRule(clip, 0.0))
      assert weights == pytest.approx(expected, rel=1e-6), clip
    # At (4, -3) the logit is 0 again; l2 w is (0.4, -0.3), behind a cut to (0.6, 0.8).
    weights, _ = after_one_step(fedavg(), line([4, -3]), GradientRule(1.0, 0.1))
    assert weights == pytest.approx((4 - 0.5 * (0.6 + 0.4), -3 - 0.5 * (0.8 - 0.3)), rel=1e-6)


def test_the_rule_holds_for_a_clients_own_model_and_leaves_the_proximal_term_alone():
  rule = GradientRule(1.0, 0.1)
  with runtimes.use('in_process'):
    _, federation = after_one_step(ditto(personal_strength=2.0), line([4, -3]), rule)
    assert federation.kept(0) == pytest.approx((4 - 0.5 * 1.0, -3 - 0.5 * 0.5), rel=1e-6)
    # Two steps of FedProx from (0, 0): first to (-0.3, -0.4); then the term is mu w = 10 w, uncut.
    federation = Federation(
      build_process(fedprox(mu=10.0), line([0, 0]), client_optimizer=sgd(0.5), rule=GradientRule(1.0, 0.0))
    )
    federation.play([payload([[3, 4]], [0], num_epochs=2)], weigh=lambda f: None)
    p = 1 / (1 + np.exp(2.5))  # of the logit -0.9 - 1.6
    gradient = np.array([3, 4]) * p  # of norm 0.38: it is not cut
    expected = np.array([-0.3, -0.4]) - 0.5 * (gradient + 10 * np.array([-0.3, -0.4]))
    weights = [float(w) for w in federation.process.get_model_weights(federation.state).trainable]
    assert weights == pytest.approx(expected, rel=1e-5)


def test_gamma_is_of_the_objective_with_its_penalty():
  """||grad h(w)|| / ||grad h(w^0)|| after a step, h with l2/2 ||w||^2: at w^0 = (4, -3) it is (1.5 + 0.4, 2 - 0.3)."""
  with runtimes.use('in_process'):
    built = build_process(
      fedavg(), line([4, -3]), client_optimizer=sgd(0.5), rule=GradientRule(None, 0.1), measure_gamma=True
    )
    federation = Federation(built)
    federation.play([payload([[3, 4]], [0])], weigh=lambda f: None)
  w0, g0 = np.array([4.0, -3.0]), np.array([1.9, 1.7])
  w1 = w0 - 0.5 * g0
  p = 1 / (1 + np.exp(-w1 @ [3, 4]))
  g1 = p * np.array([3, 4]) + 0.1 * w1
  assert float(federation.metrics['client_work']['gamma']) == pytest.approx(
    np.linalg.norm(g1) / np.linalg.norm(g0), rel=1e-5
  )


def test_running_statistics_do_not_decay():
  """Of the two weights the second is said to be one; its gradient, which a real one has not, is that of the batch."""
  model = line([4, -3])._replace(statistics=frozenset({1}))
  with runtimes.use('in_process'):
    weights, _ = after_one_step(fedavg(), model, GradientRule(None, 0.1))
    assert weights == pytest.approx((4 - 0.5 * (1.5 + 0.4), -3 - 0.5 * 2.0), rel=1e-6)
    built = build_process(fedavg(), model, client_optimizer=sgd(0.5), rule=GradientRule(None, 0.1), measure_gamma=True)
    federation = Federation(built)
    federation.play([payload([[3, 4]], [0])], weigh=lambda f: None)
  p = 1 / (1 + np.exp(-np.dot(weights, [3, 4])))
  before, after = np.array([1.5 + 0.4, 2.0]), p * np.array([3, 4]) + np.array([0.1 * weights[0], 0.0])
  gamma = np.linalg.norm(after) / np.linalg.norm(before)
  assert float(federation.metrics['client_work']['gamma']) == pytest.approx(gamma, rel=1e-5)


def test_what_is_frozen_counts_and_stays():
  """The frozen bias of log 3 makes p = 3/4 at w = (0, 0): the gradient is 3/4 x."""
  model = line([0, 0], frozen=(np.float32(np.log(3)),))
  with runtimes.use('in_process'):
    built = build_process(fedavg(), model, client_optimizer=sgd(1.0))
    state = built.set_model_weights(
      built.initialize(), tff.learning.models.ModelWeights(model.initial_weights, model.frozen)
    )
    state = built.next(state, [payload([[1, 2]], [0])]).state
    trainable, non_trainable = built.get_model_weights(state).trainable, built.get_model_weights(state).non_trainable
  assert [float(w) for w in trainable] == pytest.approx([-0.75, -1.5], rel=1e-6)
  assert [float(w) for w in non_trainable] == pytest.approx([np.log(3)], rel=1e-6)


def noisy(x, key):
  """Returns bytes as shares of 255, each example times a number of its own from 0 to 1."""
  shape = [tf.shape(x)[0], 1]
  return tf.cast(x, tf.float32) / 255 * draws.uniform(shape, key)


def bytes_model():
  inputs = Inputs('images', prepare=lambda x: tf.cast(x, tf.float32) / 255, augment=noisy)
  return prepared(line([0.5, -0.25]), inputs, input_shape=(2,), input_type='uint8')


def rounds_of_bytes(model, keys, algorithm=None):
  """Returns the weights after a round of three steps for each key; x are bytes."""
  x = np.random.default_rng(0).integers(0, 256, (11, 2), dtype=np.uint8)
  examples = {'x': x, 'y': np.int32([0, 1] * 5 + [0])}
  federation = Federation(build_process(algorithm or fedavg(), model, client_optimizer=sgd(0.5)))
  result = []
  for key in keys:
    federation.play([client_payload(examples, num_epochs=1, batch_size=4, key=key)], weigh=lambda f: None)
    result.append([float(w) for w in federation.process.get_model_weights(federation.state).trainable])
  return result


def test_what_a_step_draws_is_named_by_its_key_and_the_same_in_every_runtime():
  with runtimes.use('in_process'):
    first, again = (rounds_of_bytes(bytes_model(), [(0, 1, 5), (0, 2, 5)]) for _ in range(2))
    other = rounds_of_bytes(bytes_model(), [(1, 1, 5), (1, 2, 5)])
    compiled = rounds_of_bytes(bytes_model()._replace(jit_compile=True), [(0, 1, 5), (0, 2, 5)])
  with runtimes.use('worker'):
    worker = rounds_of_bytes(bytes_model(), [(0, 1, 5), (0, 2, 5)])
  assert first == again
  assert np.abs(np.subtract(first, other)).max() > 1e-3
  np.testing.assert_allclose(compiled, first, atol=1e-6)
  np.testing.assert_allclose(worker, first, atol=1e-6)


def test_each_step_draws_anew_and_all_weights_of_a_step_meet_the_same():
  """A step's key is its number folded into the client's. Ditto's own model, held to nothing, goes the same way."""
  x, y = np.full((1, 2), 255, np.uint8), np.int32([0])
  client = client_payload({'x': x, 'y': y}, num_epochs=2, batch_size=1, key=(0, 3, 7))
  (context,) = client['context']
  weights = np.array([0.5, -0.25])
  for step in range(2):
    key = draws.fold(context['key'], step)
    factor = float(draws.uniform([1, 1], key)[0, 0])
    seen = np.array([1.0, 1.0]) * factor
    weights = weights - 0.5 * seen / (1 + np.exp(-weights @ seen))
  with runtimes.use('in_process'):
    federation = Federation(build_process(ditto(personal_strength=0.0), bytes_model(), client_optimizer=sgd(0.5)))
    federation.play([client], weigh=lambda f: None)
    trained = [float(w) for w in federation.process.get_model_weights(federation.state).trainable]
  assert trained == pytest.approx(weights, rel=1e-5)
  assert federation.kept(0) == trained


def test_a_full_gradient_is_of_the_examples_as_they_are():
  """FedDANE and gamma ask for it: what a client minimises must not be drawn anew each time."""
  with runtimes.use('in_process'):
    built = build_process(fedavg(), bytes_model(), client_optimizer=sgd(0.0), measure_gamma=True)
    federation = Federation(built)
    x = np.uint8([[255, 0], [0, 255], [51, 102]])
    federation.play([client_payload({'x': x, 'y': np.int32([0, 1, 0])}, num_epochs=1, batch_size=1, key=(0, 0, 0))])
  assert float(federation.metrics['client_work']['gamma']) == pytest.approx(1.0, rel=1e-6)


def test_tffs_models_take_the_rule_too():
  """x^2 / 2 at 2 has the gradient 2; cut to 0.5 a step of 0.25 goes to 1.875, and another to 1.75."""
  with runtimes.use('in_process'):
    built = process(fedavg(), start=2.0, learning_rate=0.25, rule=GradientRule(0.5, 0.0))
    federation = Federation(built)
    examples = (np.ones(1, np.float32), np.zeros(1, np.float32))
    x = federation.play([client_payload(examples, num_epochs=2, batch_size=8, key=(0, 0, 0))])
  assert x == pytest.approx(1.75, rel=1e-6)
