# SPDX-License-Identifier: Apache-2.0
"""FedBN on a model of two numbers, one of which stands for a normalisation layer, and on one with real layers."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ditto, fedavg, fedbn, fedprox, fedsam, pfedme
from fedprox_tff.algorithms.base import Local
from fedprox_tff.core.task import Task
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import mlp_bn
from fedprox_tff.models.base import Model
from tests.problems import Asked, Federation

W, GAMMA = 0.5, 1.5


def two_numbers():
  """Returns the classifier with the logits (gamma w x, 0), of which gamma is the normalisation layer."""

  def logits(weights, x):
    w, gamma = weights
    return tf.stack([gamma * w * x[:, 0], tf.zeros_like(x[:, 0])], axis=1)

  initial = (np.float32(W), np.float32(GAMMA))
  return Model('two_numbers', initial, logits, logits, (1,), jit_compile=False, normalisation=(False, True))


def payload(k, n, **kwargs):
  rng = np.random.default_rng(k)
  x = (rng.normal(size=(n, 1)) + k).astype(np.float32)
  examples = collections.OrderedDict(x=x, y=(rng.random(n) < 0.5 + 0.4 * k).astype(np.int32))
  return client_payload(examples, num_epochs=3, batch_size=4, key=(0, 0, k), weight=1.0, **kwargs)


def payloads():
  return [payload(0, 6), payload(1, 9)]


def trained(federation):
  return [np.array(w) for w in federation.state.global_model_weights.trainable]


@functools.cache
def process(algorithm, model=two_numbers):
  sgd = tff.learning.optimizers.build_sgdm(0.2)
  return build_process(algorithm(), model(), client_optimizer=sgd)


def alone(k_payload, weights):
  """Returns where a client's own SGD ends that begins at `weights`."""
  federation = Federation(process(fedavg))
  model_weights = tff.learning.models.ModelWeights(tuple(map(np.float32, weights)), ())
  federation.state = federation.process.set_model_weights(federation.state, model_weights)
  federation.play([k_payload], weigh=trained)
  return trained(federation)


def test_the_server_averages_the_rest_and_each_client_keeps_its_own_layers():
  federation = Federation(process(fedbn))
  w, gammas = W, [GAMMA, GAMMA]
  for _ in range(3):
    ends = [alone(p, (w, gamma)) for p, gamma in zip(payloads(), gammas, strict=True)]
    federation.play(payloads(), weigh=trained)
    w, gammas = np.mean([end[0] for end in ends]), [end[1] for end in ends]
    new_w, servers_gamma = trained(federation)
    assert new_w == pytest.approx(w, rel=1e-5)
    assert servers_gamma == GAMMA  # it never gets one
    assert [federation.kept(k)[0] for k in (0, 1)] == pytest.approx(gammas, rel=1e-5)
    assert gammas[0] != pytest.approx(gammas[1], rel=1e-3)


def test_the_mean_of_two_clients_by_hand():
  """(w, gamma) = (1, 2) and (3, 5) after local work, from (0, 1): both hold w = 2; gamma stays 2 and 5."""
  anchor, updates, kept = (np.float32(0), np.float32(1)), [], []
  for end in ((1, 2), (3, 5)):
    local = Local(tuple(map(np.float32, end)), anchor, normalisation=(False, True))
    report = fedbn().client.finish(local, Asked(), {})
    updates.append(report.update)
    kept.append(report.state)
  mean = [np.mean(u) for u in zip(*updates, strict=True)]
  assert (anchor[0] - mean[0], anchor[1] - mean[1]) == (2, 1)
  for state, gamma in zip(kept, (2, 5), strict=True):
    own = fedbn().client.personal(Local((np.float32(2), np.float32(1)), (np.float32(2), np.float32(1)), state=state,
                                 normalisation=(False, True)))  # fmt: skip
    assert own == (2, gamma)


@pytest.mark.parametrize(('layers', 'kept'), [('normalisation', [20]), ('task', [10, 20]), ('all', [10, 20, 30])])
def test_what_stays_on_clients(layers, kept):
  """Of three weights the first is the task's own, and the second a normalisation layer's."""
  client = fedbn(personal_layers=layers).client
  marks = {'normalisation': (False, True, False), 'task_layers': (True, False, False)}
  anchor, end = (tuple(map(np.float32, numbers)) for numbers in ((1, 2, 3), (10, 20, 30)))
  report = client.finish(Local(end, anchor, **marks), Asked(), {})
  assert list(report.state) == kept
  assert list(report.update) == [0 if e in kept else a - e for a, e in zip((1, 2, 3), (10, 20, 30), strict=True)]
  local = Local(anchor, anchor, state=report.state, **marks)
  served = [e if e in kept else a for a, e in zip((1, 2, 3), (10, 20, 30), strict=True)]
  assert list(client.personal(local)) == served
  assert list(client.start(local, Asked(), {}).weights) == served


def test_of_one_client_it_is_local_sgd():
  federation, weights = Federation(process(fedbn)), (W, GAMMA)
  for _ in range(3):
    weights = alone(payload(1, 9), weights)
    federation.play([payload(1, 9)], weigh=trained)
    assert [trained(federation)[0], *federation.kept(0)] == pytest.approx([float(w) for w in weights], rel=1e-5)


def small():
  return mlp_bn().build(Task((3,), 2), seed=0)


def of_three(k, n, **kwargs):
  rng = np.random.default_rng(k)
  x = (rng.normal(size=(n, 3)) * (1 + k) + k).astype(np.float32)
  examples = collections.OrderedDict(x=x, y=(x[:, 0] > k).astype(np.int32))
  return client_payload(examples, num_epochs=3, batch_size=4, key=(0, 0, k), weight=1.0, **kwargs)


def test_all_four_tensors_of_a_layer_stay_with_the_client_and_nothing_else():
  federation, model = Federation(process(fedbn, small)), small()
  assert sum(model.normalisation) == 4
  for _ in range(2):
    federation.play([of_three(0, 9), of_three(1, 6)], weigh=trained)
  for before, after, is_own in zip(model.initial_weights, trained(federation), model.normalisation, strict=True):
    assert np.array_equal(before, after) == is_own
  own = [[np.array(t) for t in federation.client_states[k]] for k in (0, 1)]
  initial = [w for w, is_own in zip(model.initial_weights, model.normalisation, strict=True) if is_own]
  for first, second, start in zip(*own, initial, strict=True):
    assert not np.allclose(first, second, rtol=1e-3)
    assert not np.allclose(first, start, rtol=1e-3)


def test_running_statistics_follow_the_batches_and_nothing_else():
  """Not the pull of FedProx, which would hold them at the server's."""
  ends = []
  for algorithm in (fedavg, lambda: fedprox(mu=50.0)):
    sgd = tff.learning.optimizers.build_sgdm(1e-6)
    federation = Federation(build_process(algorithm(), small(), client_optimizer=sgd))
    federation.play([of_three(1, 8)], weigh=trained)
    ends.append([w for w, is_own in zip(trained(federation), small().normalisation, strict=True) if is_own])
  for a, b in zip(*ends, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
  assert any(not np.allclose(end, w, rtol=1e-2) for end, w in zip(ends[0], small().initial_weights[1:5], strict=False))


def test_running_statistics_follow_a_batch_once_where_a_step_takes_two_gradients():
  """FedSAM's second one, at weights from far away, which meet the same batch."""
  ends = []
  for algorithm in (fedavg, functools.partial(fedsam, rho=5.0)):
    federation = Federation(process(algorithm, small))
    federation.play([of_three(1, 4, num_steps=1)], weigh=trained)
    ends.append(trained(federation))
  statistics = small().statistics
  assert len(statistics) == 2
  for i, (plain, sam, initial) in enumerate(zip(*ends, small().initial_weights, strict=True)):
    if i in statistics:
      np.testing.assert_allclose(sam, plain, rtol=1e-6)
      assert not np.allclose(plain, initial, rtol=1e-3)
  assert not np.allclose(ends[0][0], ends[1][0], rtol=1e-3)


# Without a pull a client's own model takes steps of plain SGD: Ditto's from its own last one, pFedMe's from w^t.
OWN_DITTO = functools.partial(ditto, personal_strength=0.0)
OWN_PFEDME = functools.partial(pfedme, personal_strength=0.0, personal_learning_rate=0.2, inner_steps=1)


@pytest.mark.parametrize(('algorithm', 'rounds'), [(OWN_DITTO, 2), (OWN_PFEDME, 1)], ids=['ditto', 'pfedme'])
def test_a_personal_model_has_running_statistics_of_its_own(algorithm, rounds):
  federation, expected = Federation(process(algorithm, small)), Federation(process(fedavg, small))
  for _ in range(rounds):
    federation.play([of_three(0, 9), of_three(1, 6)], weigh=trained)
    expected.play([of_three(0, 9)], weigh=trained)
  for ours, alone, servers in zip(federation.client_states[0], trained(expected), trained(federation), strict=True):
    np.testing.assert_allclose(ours, alone, rtol=1e-4, atol=1e-5)
    assert not np.allclose(ours, servers, rtol=1e-3, atol=1e-4)
