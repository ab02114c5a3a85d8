# SPDX-License-Identifier: Apache-2.0
"""On a model of two classes whose weights are a kernel of zeros and a bias, which alone decides: the labels are said
to have the odds exp(b_0) : exp(b_1). A client's state is its own bias.
"""

import collections.abc
import math

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.task import Task
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated.evaluation import own_models
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.federated.evaluation.own_models import build_personal_evaluation
from fedprox_tff.models import Model, logistic

MODEL = logistic().build(Task((2,), 2), seed=0)


def odds(a, b):
  """Returns the bias by which label 0 has probability a / (a + b)."""
  return np.log(np.array([a, b], np.float32))


SERVER = (np.zeros((2, 2), np.float32), odds(1, 3))
LABELS = ['0', '001', '', '1110']  # of each client
STATES = {0: (odds(3, 1),), 1: (odds(7, 1),)}  # clients 2 and 3 have never taken part
LOSS = (math.log(4 / 3) + (2 * math.log(8 / 7) + math.log(8)) + (3 * math.log(4 / 3) + math.log(4))) / 8
ACCURACY = (1 + 2 + 3) / 8  # of the clients 1, 2/3 and 3/4
P10 = 2 / 3 + 0.2 * (3 / 4 - 2 / 3)


def own_bias(weights, state):
  (bias,) = state
  return weights[0], bias


class Recorded(collections.abc.Mapping):
  """States of which it is known who was read. Whoever asks whether a client is in it reads its state."""

  def __init__(self, states):
    self._states, self.read = states, []

  def __getitem__(self, client):
    self.read.append(client)
    return self._states[client]

  def __iter__(self):
    return iter(self._states)

  def __len__(self):
    return len(self._states)


def split(labels):
  y = np.array([int(label) for client in labels for label in client], np.int32)
  x = np.random.default_rng(0).normal(size=(len(y), 2)).astype(np.float32)
  return Examples(x, y), np.cumsum([0, *map(len, labels)])


def evaluate(states, labels=LABELS, model=MODEL, personal=own_bias):
  return build_personal_evaluation(model, personal, *split(labels))(SERVER, states)


def test_each_client_has_its_own_weights_or_else_the_servers():
  result = evaluate(STATES)
  assert result == pytest.approx((LOSS, ACCURACY, P10), rel=1e-6)
  assert result.accuracy != pytest.approx((1 + 2 / 3 + 3 / 4) / 3)  # the mean with uniform weights


def test_a_swap_of_two_clients_states_shows():
  swapped = evaluate({0: STATES[1], 1: STATES[0]})
  expected = (math.log(8 / 7) + (2 * math.log(4 / 3) + math.log(4)) + (3 * math.log(4 / 3) + math.log(4))) / 8
  assert swapped.loss == pytest.approx(expected, rel=1e-6)
  assert abs(swapped.loss - LOSS) > 0.01


def test_a_client_that_joins_has_its_own_weights_from_then_on():
  run = build_personal_evaluation(MODEL, own_bias, *split(LABELS))
  assert run(SERVER, STATES) == pytest.approx((LOSS, ACCURACY, P10), rel=1e-6)
  after = run(SERVER, {**STATES, 3: (odds(1, 1000),)})
  losses = (math.log(4 / 3), 2 * math.log(8 / 7) + math.log(8), 3 * math.log(1001 / 1000) + math.log(1001))
  assert after.loss == pytest.approx(sum(losses) / 8, rel=1e-6)
  assert run(SERVER, STATES) == pytest.approx((LOSS, ACCURACY, P10), rel=1e-6)


def test_each_client_has_its_own_examples():
  """Client k's kernel puts out label 1 for exactly those x that lie above k."""
  offsets = np.array([0, 4, 8, 12])
  x = np.array([[-1, 0], [1, 0], [2, 0], [3, 0]] * 3, np.float32) + np.repeat(np.float32(np.arange(3)), 4)[:, None]
  y = (x[:, 0] > np.repeat(np.arange(3), 4)).astype(np.int32)
  states = {k: (np.array([[0, 0], [1, 0]], np.float32), np.array([k, 0], np.float32)) for k in range(3)}
  run = build_personal_evaluation(MODEL, lambda weights, state: state, Examples(x, y), offsets)
  assert run(SERVER, states)[1:] == (1.0, 1.0)
  assert run(SERVER, {k: states[(k + 1) % 3] for k in range(3)}).accuracy < 1


@pytest.mark.parametrize('clients_per_chunk', [1, 2, 3])
@pytest.mark.parametrize('examples_per_slice', [1, 2, 1024])
def test_chunks_and_slices_change_nothing(monkeypatch, clients_per_chunk, examples_per_slice):
  monkeypatch.setattr(own_models, '_STATE_BYTES', 8 * clients_per_chunk)
  model = MODEL._replace(chunk=examples_per_slice)
  states = {**STATES, 2: (odds(1, 1),), 5: (odds(9, 1),), 6: (odds(1, 9),), 7: (odds(1, 5),)}
  labels = [*LABELS, '01', '0010', '1', '111']
  losses = [
    *(8 * LOSS, math.log(4) + math.log(4 / 3)),
    *(3 * math.log(10 / 9) + math.log(10), math.log(10 / 9), 3 * math.log(6 / 5)),
  ]
  result = evaluate(states, labels, model)
  assert result.loss == pytest.approx(sum(losses) / 18, rel=1e-6)
  assert result.accuracy == (6 + 1 + 3 + 1 + 3) / 18
  assert result.accuracy_p10 == pytest.approx(1 / 2 + 0.6 * (2 / 3 - 1 / 2), rel=1e-12)  # 7 clients: between the lowest


def test_the_order_of_the_states_changes_nothing():
  states = {k: (np.random.default_rng(k).normal(size=2).astype(np.float32),) for k in range(30)}
  labels = ['01101' * (k % 4) for k in range(30)]
  assert evaluate(states, labels) == evaluate(dict(reversed(states.items())), labels)


def test_where_all_are_served_by_the_server_it_is_the_evaluation_of_the_server():
  examples, offsets = split(['0110' * (k % 5) for k in range(40)])
  expected = Evaluator(MODEL, examples, offsets)(MODEL.initial_weights)
  run = build_personal_evaluation(MODEL, lambda weights, state: weights, examples, offsets)
  for clients in (range(0), range(20), range(40)):
    result = run(MODEL.initial_weights, dict.fromkeys(clients, ()))
    assert result.loss == pytest.approx(expected.loss, rel=1e-6)
    assert result[1:] == expected[1:]


def test_a_state_is_read_only_where_there_are_examples():
  states = Recorded({**STATES, 2: (odds(1, 1),)})
  assert evaluate(states) == pytest.approx((LOSS, ACCURACY, P10), rel=1e-6)
  assert set(states.read) == {0, 1}


def test_of_no_examples_is_not_a_number():
  states = Recorded({0: (odds(1, 1),)})
  assert all(map(math.isnan, evaluate(states, ['', ''])))
  assert all(map(math.isnan, evaluate({}, [])))
  assert not states.read


def test_a_state_of_a_client_that_is_not_there_is_an_error():
  with pytest.raises(IndexError):
    evaluate({4: (odds(1, 1),)})


def test_a_nested_state_and_more_tensors_than_the_server_has():
  """A mixture of two constants, as FedEM's of models: in equal shares at the server, in a client's own ones at it."""

  def logits(weights, x):
    label_0, shares = (*weights, tf.constant([0.5, 0.5]))[:2]
    p = tf.tensordot(shares, label_0, 1)
    return tf.math.log([[p, 1 - p]]) + tf.zeros([tf.shape(x)[0], 2])

  model = Model('mixture', (np.array([0.75, 0.125], np.float32),), logits, logits, (2,), jit_compile=False)
  run = build_personal_evaluation(model, lambda w, state: (*w, state[0][1]), *split(['0', '1', '11']))
  states = {k: ((np.float32(7), np.array(shares, np.float32)), ()) for k, shares in ((0, [1, 0]), (2, [0, 1]))}
  result = run(model.initial_weights, states)
  expected = (-math.log(0.75) - math.log(1 - 0.4375) - 2 * math.log(0.875)) / 4
  assert result == pytest.approx((expected, 1.0, 1.0), rel=1e-6)


def test_is_traced_once_for_any_number_of_clients(monkeypatch):
  monkeypatch.setattr(own_models, '_STATE_BYTES', 8 * 4)
  traces = []

  def personal(weights, state):
    traces.append(state)
    return own_bias(weights, state)

  run = build_personal_evaluation(MODEL, personal, *split(['01'] * 11))
  run(SERVER, {0: (odds(1, 2),)})
  once = len(traces)
  for count in (2, 7, 10, 11):
    run(SERVER, {k: (odds(1, 2),) for k in range(count)})
  assert len(traces) == once
