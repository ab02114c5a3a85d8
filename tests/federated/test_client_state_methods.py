# SPDX-License-Identifier: Apache-2.0
"""What clients keep between rounds: limits, invariants and reductions that have no room in the table of methods."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS, scaffnew
from fedprox_tff.algorithms.base import Local
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from tests import problems

FIVE = [(1.0, 0.0, 1), (3.0, 4.0, 2), (2.0, -1.0, 1), (0.5, 7.0, 3), (1.5, 2.0, 1)]
COHORTS = [([0, 3], [2, 1]), ([1, 2, 4], [2, 0, 1]), ([3, 1], [1, 2]), ([2], [2])]  # of FIVE, and their local steps


def federation_of(name, *, start=0.0, learning_rate=0.25, num_clients=2, **arguments):
  return problems.Federation(_process(name, start, learning_rate, num_clients, tuple(arguments.items())))


@functools.cache
def _process(name, start, learning_rate, num_clients, arguments):
  algorithm = ALGORITHMS[name](**dict(arguments))
  return problems.process(algorithm, start=start, learning_rate=learning_rate, num_clients=num_clients)


def kept_by_server(federation):
  return float(federation.state.finalizer['kept'][0])


@pytest.mark.parametrize('option', [1, 2])
def test_scaffold_reaches_the_minimiser_where_fedavg_does_not(option):
  federation = federation_of('scaffold', scaffold_option=option)
  xs = [federation.play(problems.payloads(problems.Q, uniform=True)) for _ in range(60)]
  assert xs[-1] == pytest.approx(3.0, abs=1e-5)
  assert [federation.kept(0), federation.kept(1)] == [pytest.approx([3.0], abs=1e-4), pytest.approx([-3.0], abs=1e-4)]
  assert problems.message_of(federation) == pytest.approx(0.0, abs=1e-5)
  fedavg = federation_of('fedavg')
  assert [fedavg.play(problems.payloads(problems.Q, uniform=True)) for _ in range(60)][-1] == pytest.approx(30 / 11)


@pytest.mark.parametrize('arguments', [{}, {'scaffold_option': 1}])
@pytest.mark.parametrize('uniform', [True, False])
def test_scaffolds_variate_is_the_mean_of_its_clients(arguments, uniform):
  """With few of five clients in a round, stragglers among them, one dropped, and whatever the weights of the mean."""
  federation = federation_of('scaffold', num_clients=5, learning_rate=0.1, **arguments)
  for clients, num_steps in COHORTS:
    federation.play(
      problems.payloads([FIVE[k] for k in clients], uniform=uniform, num_steps=num_steps), clients=clients
    )
    variates = [federation.kept(k)[0] if k in federation.client_states else 0.0 for k in range(5)]
    assert any(variates)
    assert problems.message_of(federation) == pytest.approx(np.mean(variates), rel=1e-5)


def test_scaffolds_second_option_is_the_mean_of_the_gradients_of_the_steps_taken():
  """From a c and c_i that are not 0, for a straggler too."""
  federation = federation_of('scaffold')
  federation.play(problems.payloads(problems.Q, uniform=True))
  x, c, (c_1,), (c_2,) = 1.875, problems.message_of(federation), federation.kept(0), federation.kept(1)
  federation.play(problems.payloads(problems.Q, uniform=True, num_steps=[1, 2]))
  first = 3 * (x - 4)
  second = 3 * (x - 0.25 * (first - c_2 + c) - 4)
  assert federation.kept(0) == pytest.approx([x], rel=1e-6)
  assert federation.kept(1) == pytest.approx([(first + second) / 2], rel=1e-6)
  assert c_1 == 0


def test_scaffold_and_fedavg_of_one_client_are_sgd():
  one = problems.Q[1:]
  scaffold = federation_of('scaffold', num_clients=1)
  fedavg = federation_of('fedavg')
  for round_num in range(1, 4):
    sgd = 4 - 4 * 0.25 ** (2 * round_num)
    assert scaffold.play(problems.payloads(one)) == pytest.approx(sgd, rel=1e-6)
    assert fedavg.play(problems.payloads(one)) == pytest.approx(sgd, rel=1e-6)


def test_full_gradients_are_the_mean_over_all_of_the_clients_own_rows():
  """More than are passed at a time, among those of others: SCAFFOLD's first option keeps minus their mean."""
  b = np.arange(2000, dtype=np.float32)
  rows, examples = range(50, 1550), (tf.ones_like(b), tf.constant(b))
  federation = federation_of('scaffold', scaffold_option=1)
  payload = client_payload(examples, rows=rows, num_epochs=1, batch_size=2000, key=(0,), weight=1.0)
  federation.play([payload])
  assert federation.kept(0) == pytest.approx([-b[50:1550].mean()], rel=1e-6)


def test_feddane_is_scaffold_with_fresh_variates():
  """Option 1's, c_i = grad F_i(x) and c their mean, set by hand before each round."""
  feddane, scaffold = federation_of('feddane'), federation_of('scaffold', scaffold_option=1)
  x = 0.0
  for _ in range(3):
    gradients = [a * (x - b) for a, b, _ in problems.Q]
    scaffold.client_states = {k: (np.float32(g),) for k, g in enumerate(gradients)}
    weights = tff.learning.models.ModelWeights((np.float32(x),), (np.float32(np.mean(gradients)),))
    old = scaffold.state
    scaffold.state = tff.learning.templates.LearningAlgorithmState(
      weights, old.distributor, old.client_work, old.aggregator, old.finalizer
    )
    payloads = problems.payloads(problems.Q, uniform=True)
    x = feddane.play(payloads)
    assert scaffold.play(payloads) == pytest.approx(x, rel=1e-6)


def test_feddane_gathers_gradients_by_the_clients_weights():
  """W from 2: gradients 2 and -2 with weights 1 and 3, g = -1; both descend g_k(y) - g_k(2) - 1."""
  federation = federation_of('feddane', start=2.0, learning_rate=0.5)
  assert federation.play(problems.payloads(problems.W)) == pytest.approx(2.75, rel=1e-6)
  uniform = federation_of('feddane', start=1.0, learning_rate=0.5)
  assert uniform.play(problems.payloads(problems.W, uniform=True)) == pytest.approx(1.75, rel=1e-6)


@pytest.mark.parametrize('uniform', [True, False])
def test_feddyns_server_keeps_the_mean_of_what_all_clients_keep(uniform):
  """With few of five clients in a round, stragglers among them, one dropped, and whatever the weights of the mean."""
  federation = federation_of('feddyn', num_clients=5, learning_rate=0.1, dynamic_strength=0.7)
  for clients, num_steps in COHORTS:
    payloads = problems.payloads([FIVE[k] for k in clients], uniform=uniform, num_steps=num_steps)
    federation.play(payloads, clients=clients)
    sums = [federation.kept(k)[0] if k in federation.client_states else 0.0 for k in range(5)]
    assert any(sums)
    assert kept_by_server(federation) == pytest.approx(np.mean(sums), rel=1e-5)


def test_feddyn_rests_at_the_minimiser_of_the_mean():
  """alpha h_k = -grad F_k(3), which are 3 and -3; FedProx with the same strength rests at 8/3."""
  federation = federation_of('feddyn', dynamic_strength=0.5)
  for _ in range(80):
    x = federation.play(problems.payloads(problems.Q, uniform=True))
  assert x == pytest.approx(3.0, abs=1e-5)
  assert [federation.kept(0), federation.kept(1)] == [pytest.approx([-6.0], abs=1e-4), pytest.approx([6.0], abs=1e-4)]
  assert kept_by_server(federation) == pytest.approx(0.0, abs=1e-5)


def test_feddyn_without_what_it_keeps_is_fedprox():
  """The mean of the cohort, if clients and server forget after each round."""
  feddyn = federation_of('feddyn', start=1.0, dynamic_strength=0.8, feddyn_evaluated='cohort')
  fedprox = federation_of('fedprox', start=1.0, mu=0.8)
  for _ in range(3):
    payloads = problems.payloads(problems.Q, uniform=True, num_steps=[1, 2])
    x = fedprox.play(payloads)
    feddyn.play(payloads)
    assert problems.weight_of(feddyn.process, feddyn.state) == pytest.approx(x, rel=1e-6)
    forgetful = feddyn.process.initialize()
    weights = tff.learning.models.ModelWeights((np.float32(x),), ())
    feddyn.state, feddyn.client_states = feddyn.process.set_model_weights(forgetful, weights), {}


def test_feddyn_evaluates_the_server_or_the_mean_of_the_cohort():
  """Q with alpha = 1: the clients end at 1.875 and 3 in round 2, after which w = 3.375 and h = 0.9375."""
  for evaluated, expected in (('server', 3.375), ('cohort', 2.4375)):
    federation = federation_of('feddyn', dynamic_strength=1.0, feddyn_evaluated=evaluated)
    assert problems.weight_of(federation.process, federation.state) == 0
    for _ in range(2):
      assert federation.play(problems.payloads(problems.Q, uniform=True)) in (3.0, 3.375)
    assert problems.weight_of(federation.process, federation.state) == pytest.approx(expected, rel=1e-6)


def test_scaffnew_of_one_step_a_round_is_gradient_descent():
  federation = federation_of('scaffnew', communication_probability=1.0)
  x = 0.0
  for _ in range(5):
    x -= 0.25 * (x + 3 * (x - 4)) / 2
    assert federation.play(problems.payloads(problems.Q, uniform=True, num_steps=[1, 1])) == pytest.approx(x, rel=1e-5)


def test_scaffnew_reaches_the_minimiser_and_its_variates_sum_to_zero():
  federation = federation_of('scaffnew', num_clients=5, learning_rate=0.1, communication_probability=0.5)
  for round_num in range(120):
    steps = [1 + round_num % 3] * 5
    federation.play(problems.payloads(FIVE, uniform=True, num_steps=np.minimum(steps, 2).tolist()))
    variates = [federation.kept(k)[1] for k in range(5)]
    assert sum(variates) == pytest.approx(0.0, abs=2e-5)
  best = sum(a * b for a, b, _ in FIVE) / sum(a for a, _, _ in FIVE)
  assert problems.trained(federation.state) == pytest.approx(best, abs=1e-4)
  assert variates == pytest.approx([a * (best - b) for a, b, _ in FIVE], abs=1e-3)


def test_scaffnew_draws_the_steps_of_a_round_from_seed_and_round():
  draw = scaffnew(communication_probability=0.2).schedule.round_steps
  steps = [draw(7, r) for r in range(1, 4001)]
  assert steps == [draw(7, r) for r in range(1, 4001)]
  assert steps != [draw(8, r) for r in range(1, 4001)]
  assert min(steps) == 1
  assert np.mean(steps) == pytest.approx(5.0, rel=0.05)
  assert np.mean(np.array(steps) == 1) == pytest.approx(0.2, abs=0.02)
  assert scaffnew(communication_probability=1.0).schedule.round_steps(0, 1) == 1


@pytest.mark.parametrize(('average', 'expected'), [('models', 0.61875), ('steps', 0.51875)])
def test_fedinit_relaxes_from_the_clients_last_local_model(average, expected):
  """Client 1 alone, w = 1, which ended at 0 when it last took part."""
  federation = federation_of('fedinit', start=1.0, fedinit_average=average)
  federation.client_states = {0: ((np.float32(0),), np.float32(1))}
  assert federation.play(problems.payloads(problems.Q[:1])) == pytest.approx(expected, rel=1e-6)


def test_fedinits_last_is_that_of_the_clients_own_last_round():
  """Client 2 rests in round 2: in round 3 it still goes away from where it ended in round 1, 3.75."""
  federation = federation_of('fedinit')
  federation.play(problems.payloads(problems.Q, uniform=True))
  federation.play(problems.payloads(problems.Q[:1], uniform=True))
  w = problems.trained(federation.state)
  start = w + 0.1 * (w - 3.75)
  x = federation.play(problems.payloads(problems.Q[1:], uniform=True), clients=[1])
  assert x == pytest.approx(4 + (start - 4) / 16, rel=1e-6)


@pytest.mark.parametrize('name', ['fedinit', 'fedlesam', 'scaffnew'])
def test_a_client_that_joins_later_begins_as_fedavgs(name):
  """Client 1, after client 2 has brought x to 3.75: that w^0 was 0 is nothing to it."""
  federation = federation_of(name)
  assert federation.play(problems.payloads(problems.Q[1:], uniform=True), clients=[1]) == 3.75
  x = federation.play(problems.payloads(problems.Q[:1], uniform=True), clients=[0])
  assert x == pytest.approx(3.75 * 0.75**2, rel=1e-6)


def test_fedlesam_perturbs_towards_the_model_received_last():
  federation = federation_of('fedlesam', start=1.0, rho=0.5)
  federation.client_states = {k: ((np.float32(0),), np.float32(1)) for k in (0, 1)}
  assert federation.play(problems.payloads(problems.Q, uniform=True)) == pytest.approx(2.53125, rel=1e-6)
  assert federation.kept(0) == [1.0, 1.0]


def test_fedlesams_norm_is_over_all_tensors_together():
  old, new = (np.float32([3.0]), np.float32([4.0])), (np.float32([0.0]), np.float32([0.0]))
  start = ALGORITHMS['fedlesam']().client.start(
    Local(new, new, state=(old, np.float32(1))), problems.Asked(), {'rho': 0.5}
  )
  np.testing.assert_allclose(start.constants, [[0.3], [0.4]], rtol=1e-6)


def test_the_model_that_a_client_keeps_is_its_own():
  """FedBN's is in test_fedbn.py, FedEM's in test_fedem.py."""
  local = Local((np.float32(1),), (np.float32(1),), state=(np.float32(2),))
  for name in ('ditto', 'pfedme'):
    assert ALGORITHMS[name]().client.personal(local) == (2,)


@pytest.mark.parametrize('strength', [0.0, 0.7, 3.0])
def test_dittos_global_path_is_fedavgs_bit_for_bit(strength):
  ditto, fedavg = federation_of('ditto', personal_strength=strength), federation_of('fedavg')
  for _ in range(4):
    payloads = problems.payloads(problems.Q, uniform=True, num_steps=[1, 2])
    assert ditto.play(payloads) == fedavg.play(payloads)


def test_ditto_without_a_pull_is_local_sgd():
  federation = federation_of('ditto', personal_strength=0.0)
  for round_num in range(1, 4):
    federation.play(problems.payloads(problems.Q, uniform=True))
    assert federation.kept(1) == pytest.approx([4 - 4 * 0.25 ** (2 * round_num)], rel=1e-6)


def test_dittos_fixed_points():
  """v = (a b + lambda w) / (a + lambda), at FedAvg's limit w = 30/11."""
  federation = federation_of('ditto')
  for _ in range(80):
    federation.play(problems.payloads(problems.Q, uniform=True))
  w = 30 / 11
  assert federation.kept(0) == pytest.approx([w / 2], rel=1e-5)
  assert federation.kept(1) == pytest.approx([(12 + w) / 4], rel=1e-5)


def test_pfedme_of_one_step_and_an_exact_solver_is_the_exact_proximal_point():
  """R = 1, lr = 1 / lambda: w_k = theta_k = (a b + lambda w) / (a + lambda), FedProx's with mu = lambda."""
  federation = federation_of(
    'pfedme', learning_rate=0.5, personal_strength=2.0, personal_learning_rate=0.2, inner_steps=80
  )
  w = 0.0
  for _ in range(3):
    w = np.mean([(a * b + 2 * w) / (a + 2) for a, b, _ in problems.Q])
    x = federation.play(problems.payloads(problems.Q, uniform=True, num_steps=[1, 1]))
    assert x == pytest.approx(w, rel=1e-5)


@pytest.mark.parametrize('arguments', [{'personal_strength': 0.0}, {'inner_steps': 0}])
def test_pfedme_without_pull_or_inner_steps_does_not_move(arguments):
  federation = federation_of('pfedme', start=1.0, learning_rate=0.02, **arguments)
  assert federation.play(problems.payloads(problems.Q, uniform=True)) == 1.0


def test_pfedmes_theta_begins_at_the_servers_weights_in_every_round():
  arguments = {'personal_strength': 2.0, 'personal_learning_rate': 0.25, 'inner_steps': 1}
  federation = federation_of('pfedme', learning_rate=0.1, **arguments)
  for _ in range(2):
    w = problems.trained(federation.state)
    federation.play(problems.payloads(problems.Q, uniform=True, num_steps=[1, 1]))
    assert federation.kept(1) == pytest.approx([w - 0.25 * 3 * (w - 4)], rel=1e-6)


def test_a_message_goes_behind_the_models_own_weights_that_do_not_learn():
  """Q in w = x - 5, where 5 is such a weight: SCAFFOLD's variate must not be taken for it, nor it for the variate."""
  plain = problems.quadratic(-5.0)

  @tf.function
  def predict_on_batch(weights, x, training):
    del training
    (w,), (five,) = weights
    return tf.stack([x, tf.zeros_like(x) + w + five], axis=1)

  model = tff.learning.models.FunctionalModel(
    initial_weights=((np.float32(-5),), (np.float32(5),)),
    predict_on_batch_fn=predict_on_batch,
    loss_fn=plain.loss,
    input_spec=plain.input_spec,
  )
  sgd = tff.learning.optimizers.build_sgdm(0.25)
  process = build_process(ALGORITHMS['scaffold'](), model, client_optimizer=sgd, num_clients=2)
  federation = problems.Federation(process)
  xs = [federation.play(problems.payloads(problems.Q, uniform=True)) + 5 for _ in range(2)]
  assert xs == pytest.approx([1.875, 2.6953125], rel=1e-6)
  assert process.get_model_weights(federation.state).non_trainable == (5.0,)


def test_states_of_the_worker_are_those_of_this_process():
  from fedprox_tff.federated import runtimes

  results = []
  for runtime in ('in_process', 'worker'):
    with runtimes.use(runtime):
      federation = federation_of('scaffold')
      xs = [federation.play(problems.payloads(problems.Q, uniform=True)) for _ in range(2)]
      results.append((xs, tf.nest.flatten(federation.client_states)))
  np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
  np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)


def test_a_server_that_counts_clients_needs_their_number():
  with pytest.raises(ValueError, match='scaffold needs num_clients'):
    problems.process(ALGORITHMS['scaffold'](), start=0.0, learning_rate=0.1, num_clients=None)
