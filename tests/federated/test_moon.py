# SPDX-License-Identifier: Apache-2.0
"""MOON by hand, on features that are weights, and round by round on a small network against the paper's formula."""

import collections
import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS, moon
from fedprox_tff.algorithms.base import Local
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.passes import AS_IT_IS, BatchPasses, OneBatch
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import logistic
from fedprox_tff.models.base import Model
from tests.problems import Asked, Federation, quadratic
from tests.tasks import IMAGES

RATE, BATCH, EPOCHS = 0.3, 4, 3
HPARAMS = {'contrastive_strength': 3.0, 'temperature': 0.5}
Z, Z_GLOB, Z_PREV = (np.float32([numbers]) for numbers in ((1, 0), (1, 1), (0, 1)))


def gradient_by(z, z_glob, z_prev):
  """Returns the gradient by z, which is a weight of the model, on a batch with padding; its head gives 0 to all."""

  def logits(weights, x):
    z, kernel, bias = weights
    return (z + 0 * x) @ kernel + bias

  head = (np.zeros((2, 3), np.float32), np.zeros(3, np.float32))
  model = local_model(Model('features', (z, *head), logits, logits, (1,), jit_compile=False))
  rows = {'x': tf.ones([4, 1]), 'y': tf.constant([0, 1, 2, 0])}
  batch = OneBatch(rows, tf.constant(3), None, None)
  passes = BatchPasses(model, model.build_step(), AS_IT_IS, batch, non_trainable=())
  local = Local(*(tuple(map(tf.constant, (w, *head))) for w in (z, z_glob)))
  local = local._replace(constants=tuple(map(tf.constant, (z_prev, *head))))
  return moon().client.gradient(local, passes, HPARAMS)[0]


def test_the_contrastive_term_by_hand():
  """cos is 1 / sqrt(2) with the server's and 0 with the last; log(1 + e^(-sqrt(2))) = 0.2176217."""
  terms = []
  asked = Asked(
    gradient=lambda at: (tf.zeros(2),), gradient_of=lambda loss, at, *others: terms.append(loss(at, *others)) or (0.0,)
  )
  moon().client.gradient(Local(Z, Z_GLOB, constants=Z_PREV), asked, HPARAMS)
  np.testing.assert_allclose(terms[0], [0.2176217], rtol=1e-6)


def test_its_gradient_by_hand():
  """Of -0.3911406 cos(z, z_glob) + 0.3911406 cos(z, z_prev): across z, the two grow by 1 / sqrt(2) and 1."""
  expected = 3.0 * 0.3911406 * (1 - 1 / math.sqrt(2))
  np.testing.assert_allclose(gradient_by(Z, Z_GLOB, Z_PREV), [[0, expected]], rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(gradient_by(4 * Z, 3 * Z_GLOB, 2 * Z_PREV), [[0, expected / 4]], rtol=1e-6, atol=1e-7)


def test_where_the_last_weights_are_the_servers_the_gradient_is_exactly_0():
  np.testing.assert_array_equal(gradient_by(np.float32([[0.3, -0.7]]), Z_GLOB, Z_GLOB), [[0, 0]])


@pytest.mark.parametrize('zero', range(3))
def test_features_of_length_0_have_no_direction(zero):
  features = [np.float32([[0.6, -0.8]]), Z_GLOB, Z_PREV]
  features[zero] = np.zeros_like(Z)
  gradient = gradient_by(*features)
  assert np.isfinite(gradient).all()
  if zero == 0:
    np.testing.assert_array_equal(gradient, [[0, 0]])


def forward(weights, x):
  """Returns the features and the logits of the network."""
  kernel_1, bias_1, kernel_2, bias_2 = weights
  z = tf.tanh(x @ kernel_1 + bias_1)
  return z, z @ kernel_2 + bias_2


@functools.cache
def network():
  rng = np.random.default_rng(0)
  initial = tuple(rng.normal(size=shape).astype(np.float32) for shape in ((3, 5), (5,), (5, 2), (2,)))

  def logits(weights, x):
    return forward(weights, x)[1]

  return Model('network', initial, logits, logits, (3,), jit_compile=False)


@functools.cache
def process(name, **kwargs):
  sgd = tff.learning.optimizers.build_sgdm(RATE)
  return build_process(ALGORITHMS[name](), network(), client_optimizer=sgd, **kwargs)


SIZES = (6, 9)


@functools.cache
def examples(k):
  rng = np.random.default_rng(k)
  x = (rng.normal(size=(SIZES[k], 3)) + k).astype(np.float32)
  return collections.OrderedDict(x=x, y=(x[:, 0] * (1 - 2 * k) > 0).astype(np.int32))


def payload(k, **kwargs):
  return client_payload(examples(k), num_epochs=EPOCHS, batch_size=BATCH, key=(0, 0, k), **kwargs)


def payloads():
  return [payload(0), payload(1)]


def weights_of(federation):
  return [np.array(w) for w in federation.state.global_model_weights.trainable]


def federation_with(**hparams):
  """Returns a federation of MOON with some of its values set."""
  federation = Federation(process('moon'))
  values = federation.process.get_hparams(federation.state)
  values['client_work'].update(hparams)
  federation.state = federation.process.set_hparams(federation.state, values)
  return federation


def similarity(z, other):
  return -tf.keras.losses.cosine_similarity(other, z)


def local_model_of(k, anchor, previous, *, contrastive_strength, temperature):
  """Returns where a client ends, by the paper's formula as it stands."""
  weights, order = tuple(map(tf.constant, anchor)), payload(k)['context'][0]['order']
  steps_per_epoch = -(-SIZES[k] // BATCH)
  for i in range(EPOCHS * steps_per_epoch):
    rows = order[i][: min(BATCH, SIZES[k] - i % steps_per_epoch * BATCH)]
    x, y = examples(k)['x'][rows], examples(k)['y'][rows]
    with tf.GradientTape() as tape:
      tape.watch(weights)
      z, logits = forward(weights, x)
      positive, negative = (tf.exp(similarity(z, forward(other, x)[0]) / temperature) for other in (anchor, previous))
      contrast = tf.reduce_mean(-tf.math.log(positive / (positive + negative)))
      loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)) + contrastive_strength * contrast
    gradients = tape.gradient(loss, weights)
    weights = tuple(w - RATE * g for w, g in zip(weights, gradients, strict=True))
  return [w.numpy() for w in weights]


def test_rounds_are_those_of_the_papers_formula():
  """With means by n_k; client 0 rests in round 2, so that its last model is older than the server's last weights."""
  settings = {'contrastive_strength': 2.0, 'temperature': 0.3}
  federation, w, last = federation_with(**settings), list(network().initial_weights), {}
  for cohort in ([0, 1], [1], [0, 1]):
    ends = {k: local_model_of(k, w, last.get(k, w), **settings) for k in cohort}
    last |= ends
    w = [
      np.float32(np.average(tensors, axis=0, weights=[SIZES[k] for k in cohort]))
      for tensors in zip(*ends.values(), strict=True)
    ]
    federation.play([payload(k) for k in cohort], cohort, weigh=weights_of)
    for found, expected in zip(weights_of(federation), w, strict=True):
      np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    for k in cohort:
      assert federation.kept(k) == pytest.approx([*np.concatenate([np.ravel(t) for t in last[k]]), 1.0], rel=1e-4)


@pytest.mark.parametrize(('hparams', 'same'), [({}, 1), ({'contrastive_strength': 0.0}, 3)])
def test_it_is_fedavg_in_the_first_round_and_without_the_term(hparams, same):
  """Bit for bit."""
  federation, fedavg = federation_with(**hparams), Federation(process('fedavg'))
  for round_num in itertools.count(1):
    found, expected = (f.play(payloads(), weigh=weights_of) for f in (federation, fedavg))
    if round_num > same:
      assert not np.allclose(found[0], expected[0], rtol=1e-3)
      return
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_array_equal(a, b)
    if round_num == 3:
      return


def test_a_client_that_joins_later_begins_as_fedavgs():
  """Its last weights are those that it gets, and not the initial ones."""
  federation, fedavg = Federation(process('moon')), Federation(process('fedavg'))
  for k in (1, 0):
    found, expected = (f.play([payload(k)], [k], weigh=weights_of) for f in (federation, fedavg))
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_array_equal(a, b)


def test_a_client_that_is_dropped_or_not_finite_keeps_its_last_model_and_moves_nobody():
  federation, expected = Federation(process('moon')), Federation(process('moon'))
  broken = payload(1)
  broken['examples'] = [collections.OrderedDict(examples(1), x=np.full_like(examples(1)['x'], np.nan))]
  for f in (federation, expected):
    f.play(payloads(), weigh=weights_of)
  before = federation.kept(1)
  for absent in (payload(1, num_steps=0), broken):
    found = federation.play([absent, payload(0)], [1, 0], weigh=weights_of)
    for a, b in zip(found, expected.play([payload(0)], [0], weigh=weights_of), strict=True):
      np.testing.assert_array_equal(a, b)
    assert federation.kept(1) == before
    assert federation.kept(0) == expected.kept(0) != before


def test_a_step_costs_two_gradients():
  federation = Federation(process('moon'))
  counts = federation.play(payloads(), weigh=lambda f: f.metrics['client_work'])
  assert int(counts['num_gradients']) == 2 * int(counts['num_steps']) == 2 * EPOCHS * (2 + 3)


def test_inexactness_is_that_of_the_whole_objective():
  """In the first round the term is flat, and it is FedAvg's; later it is not."""
  federation, fedavg = (Federation(process(name, measure_gamma=True)) for name in ('moon', 'fedavg'))
  gammas = []
  for _ in range(2):
    gammas += [
      f.play(payloads(), weigh=lambda f: float(f.metrics['client_work']['gamma'])) for f in (federation, fedavg)
    ]
  assert gammas[0] == pytest.approx(gammas[1], rel=1e-6)
  assert gammas[2] != pytest.approx(gammas[3], rel=1e-2)


@pytest.mark.parametrize('model', [lambda: logistic().build(IMAGES, seed=0), lambda: quadratic(0.0)])
def test_a_model_without_features_is_refused(model):
  sgd = tff.learning.optimizers.build_sgdm(RATE)
  with pytest.raises(ValueError, match="moon needs the features that the model's last layer gets"):
    build_process(moon(), model(), client_optimizer=sgd)
