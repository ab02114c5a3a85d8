# SPDX-License-Identifier: Apache-2.0
"""FedEM: the E step by hand, what it is for one model, and what holds for every method, on a mixture of classifiers."""

import collections
import functools
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedavg, fedem
from fedprox_tff.algorithms.base import Local
from fedprox_tff.core.task import Task
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import logistic
from fedprox_tff.models.mixture import mixture
from tests.problems import Asked, Federation

SIZES = [7, 12, 5]
STEPS = 6


def client(k, n):
  """Returns client k's examples: two clients have the same labels, the third the opposite ones."""
  rng = np.random.default_rng(k)
  x = rng.normal(size=(n, 4)).astype(np.float32)
  y = (x.sum(axis=1) > 0) ^ (k == 2)
  return collections.OrderedDict(x=x, y=y.astype(np.int32))


def payloads(num_steps=(STEPS, STEPS, 3), **kwargs):
  return [
    client_payload(client(k, n), num_epochs=6, batch_size=4, key=(0, 0, k), num_steps=num_steps[k], **kwargs)
    for k, n in enumerate(SIZES)
  ]


def model(num_components):
  return mixture(logistic(), num_components).build(Task((4,), 2), seed=3)


@functools.cache
def process(num_components):
  sgd = tff.learning.optimizers.build_sgdm(0.3)
  return build_process(fedem(num_components=num_components), model(num_components), client_optimizer=sgd)


def weights_of(federation):
  return [np.array(w) for w in federation.state.global_model_weights.trainable]


def play(federation, payloads, **kwargs):
  """Plays a round and returns all weights."""
  return federation.play(payloads, weigh=weights_of, **kwargs)


def assert_close(a, b, **kwargs):
  for x, y in zip(a, b, strict=True):
    np.testing.assert_allclose(x, y, **{'rtol': 1e-5, 'atol': 1e-6} | kwargs)


@pytest.mark.parametrize(
  ('pi', 'q', 'new_pi'),
  [((0.5, 0.5), [[0.75, 0.25], [0.25, 0.75]], (0.5, 0.5)), ((0.75, 0.25), [[0.9, 0.1], [0.5, 0.5]], (0.7, 0.3))],
)
def test_the_e_step_worked_out_by_hand(pi, q, new_pi):
  """Two examples, two models, losses (0, ln 3) of the first model and (ln 3, 0) of the second."""
  losses = np.float32([[0, math.log(3)], [math.log(3), 0]])
  received = Local((), (), state=(np.float32(pi),))
  client = fedem(num_components=2).client
  start = client.start(received, Asked(losses=lambda weights: losses), {})
  np.testing.assert_allclose(start.example_weights, q, rtol=1e-6)
  np.testing.assert_allclose(start.constants[0], new_pi, rtol=1e-6)
  report = client.finish(received._replace(constants=start.constants), Asked(), {})
  np.testing.assert_allclose(report.state[0], new_pi, rtol=1e-6)


def test_of_one_model_it_is_fedavg():
  ours = Federation(process(1))
  sgd = tff.learning.optimizers.build_sgdm(0.3)
  fedavgs = Federation(build_process(fedavg(), logistic().build(Task((4,), 2), seed=3), client_optimizer=sgd))
  for _ in range(3):
    assert_close(play(ours, payloads()), play(fedavgs, payloads()))
  assert all(ours.kept(k) == [1.0] for k in range(3))


def test_a_round_as_its_equations_say():
  """Two models, one client, in numpy: q from all examples, then steps on q-weighted gradients divided by B."""
  data, n = client(0, SIZES[0]), SIZES[0]
  kernels = [np.float64(w) for w in model(2).initial_weights]
  pi = np.array([0.5, 0.5])

  def probabilities(kernel, bias):
    z = data['x'] @ kernel.T + bias
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

  (payload,) = payloads()[:1]
  order = payload['context'][0]['order'][:STEPS]
  federation = Federation(process(2))
  for _ in range(2):
    p = [probabilities(*kernels[2 * m : 2 * m + 2]) for m in (0, 1)]
    likelihood = np.stack([pm[np.arange(n), data['y']] for pm in p], axis=1)
    q = pi * likelihood / (pi * likelihood).sum(axis=1, keepdims=True)
    pi = q.mean(axis=0)
    for step in range(STEPS):
      rows = order[step][: 4 if step % 2 == 0 else n - 4]
      for m in (0, 1):
        error = probabilities(*kernels[2 * m : 2 * m + 2])[rows] - np.eye(2)[data['y'][rows]]
        error *= q[rows, m : m + 1] / len(rows)
        kernels[2 * m] = kernels[2 * m] - 0.3 * error.T @ data['x'][rows]
        kernels[2 * m + 1] = kernels[2 * m + 1] - 0.3 * error.sum(axis=0)
    assert_close(play(federation, [payload]), kernels, rtol=1e-4)
    assert federation.kept(0) == pytest.approx(pi.tolist(), rel=1e-5)


def test_models_are_averaged_by_the_clients_examples():
  together = play(Federation(process(2)), payloads())
  alone = [play(Federation(process(2)), [payload]) for payload in payloads()]
  mean = [np.average(tensors, axis=0, weights=SIZES) for tensors in zip(*alone, strict=True)]
  assert_close(together, mean)


def test_equal_models_stay_equal_and_pi_with_them():
  federation = Federation(process(2))
  first = model(2).initial_weights[:2]
  weights = tff.learning.models.ModelWeights((*first, *first), ())
  federation.state = federation.process.set_model_weights(federation.state, weights)
  for _ in range(2):
    new = play(federation, payloads())
    assert_close(new[:2], new[2:])
    assert federation.kept(1) == pytest.approx([0.5, 0.5])


def test_weights_that_are_set_after_two_rounds_are_those_that_one_gets():
  federation = Federation(process(2))
  for _ in range(2):
    play(federation, payloads())
  weights = tff.learning.models.ModelWeights(tuple(w + 1 for w in model(2).initial_weights), ())
  state = federation.process.set_model_weights(federation.state, weights)
  assert_close(federation.process.get_model_weights(state).trainable, weights.trainable, rtol=0, atol=0)


def test_clients_of_opposite_labels_part():
  federation = Federation(process(2))
  for _ in range(40):
    play(federation, payloads((STEPS, STEPS, STEPS)))
  assert np.argmax(federation.kept(0)) == np.argmax(federation.kept(1)) != np.argmax(federation.kept(2))


def test_neither_order_nor_a_bad_or_a_dropped_client_changes_the_others():
  expected = Federation(process(2))
  after = play(expected, payloads())
  backward = Federation(process(2))
  assert_close(play(backward, payloads()[::-1], clients=[2, 1, 0]), after)
  assert backward.kept(0) == pytest.approx(expected.kept(0))
  bad = payloads()[0]
  bad['examples'][0]['x'][2] = math.nan
  with_bad = Federation(process(2))
  assert_close(play(with_bad, [*payloads(), bad]), after)
  assert with_bad.metrics['client_work']['non_finite'] == 1
  assert with_bad.kept(3) == [0.5, 0.5]
  dropped = Federation(process(2))
  without = play(Federation(process(2)), payloads()[1:], clients=[1, 2])
  assert_close(play(dropped, payloads((0, STEPS, 3))), without)
  assert dropped.kept(0) == [0.5, 0.5]


def test_a_client_twice_is_one_of_twice_the_weight():
  heavy = payloads()
  heavy[1]['context'][0]['weight'] *= np.float32(2)
  expected = play(Federation(process(2)), heavy)
  twice = [*payloads(), payloads()[1]]
  assert_close(play(Federation(process(2)), twice, clients=[0, 1, 2, 1]), expected)


def test_losses_are_of_the_clients_own_rows():
  """Where all clients share one array, of which each has some rows."""
  shared = {name: np.concatenate([client(k, n)[name] for k, n in enumerate(SIZES)]) for name in ('x', 'y')}
  shared = collections.OrderedDict((name, tf.constant(array)) for name, array in shared.items())
  starts = np.cumsum([0, *SIZES])
  rows = [
    client_payload(shared, rows=range(a, b), num_epochs=6, batch_size=4, key=(0, 0, k), num_steps=(STEPS, STEPS, 3)[k])
    for k, (a, b) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
  ]
  ours, expected = Federation(process(2)), Federation(process(2))
  assert_close(play(ours, rows), play(expected, payloads()))
  assert ours.kept(2) == pytest.approx(expected.kept(2))


def test_a_client_mixes_the_probabilities_by_its_own_weights():
  own = fedem(num_components=2).client.personal(Local(model(2).initial_weights, (), state=(np.float32([0.25, 0.75]),)))
  x = client(0, 5)['x']
  one = local_model(logistic().build(Task((4,), 2), seed=3))
  assert one.normalisation == (False, False)
  plain = logistic().build(Task((4,), 2), seed=3)
  parts = [tf.nn.softmax(plain.logits(own[2 * m : 2 * m + 2], x)).numpy() for m in (0, 1)]
  mixed = tf.nn.softmax(model(2).logits(own, x)).numpy()
  np.testing.assert_allclose(mixed, 0.25 * parts[0] + 0.75 * parts[1], rtol=1e-5)
