# SPDX-License-Identifier: Apache-2.0
"""FedPer and FedRep, whose clients keep their heads: on a model of two numbers, and on one with normalisation layers.

Client k's loss is F_k = (gamma w - b_k)^2 / 2, with w the body and gamma the head, both 1 at first. b = 2 and 4, and a
step of 0.1 is along the full gradient, unless a test says otherwise.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS, fedper, fedrep
from fedprox_tff.core.task import Task
from fedprox_tff.federated.evaluation.adaptation import build_adaptation, context_of
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.passes import AS_IT_IS
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import mlp_bn
from tests.problems import Federation

RATE = 0.1
HEAD = (False, True)


def two_numbers(head=HEAD):
  """Returns (w, gamma) with a mark on the head, which TFF's models do not tell."""

  @tf.function
  def predict_on_batch(weights, x, training):
    del training
    (w, gamma), _ = weights
    return gamma * w + 0 * x

  @tf.function
  def loss(output, label, sample_weight=None):
    del sample_weight
    return tf.reduce_mean((output - label) ** 2) / 2

  model = tff.learning.models.FunctionalModel(
    initial_weights=((np.float32(1), np.float32(1)), ()),
    predict_on_batch_fn=predict_on_batch,
    loss_fn=loss,
    input_spec=(tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.float32)),
  )
  return local_model(model)._replace(head=head)


@functools.cache
def process(name, head=HEAD, **arguments):
  sgd = tff.learning.optimizers.build_sgdm(RATE)
  return build_process(ALGORITHMS[name](**arguments), two_numbers(head), client_optimizer=sgd)


def payload(b, *, steps, weight=1.0, batch_size=8):
  """Returns the payload of a client with these b; it has two epochs, or fewer steps."""
  b = np.float32(b)
  return client_payload((0 * b, b), num_epochs=2, batch_size=batch_size, key=(0,), num_steps=steps, weight=weight)


def both(steps=(2, 2), weights=(1.0, 1.0)):
  return [payload([b], steps=n, weight=p) for b, n, p in zip((2, 4), steps, weights, strict=True)]


def server(federation):
  return [float(w) for w in federation.state.global_model_weights.trainable]


def play(federation, payloads, clients=None):
  """Plays a round; returns the server's w, and what the clients keep. The server's own head stays the initial one."""
  federation.play(payloads, clients, weigh=lambda _: None)
  assert server(federation)[1] == 1.0
  return server(federation)[0], [gamma for k in sorted(federation.client_states) for gamma in federation.kept(k)]


def gradient(w, gamma, b):
  return (gamma * w - b) * gamma, (gamma * w - b) * w


def sgd(start, bs, mask=lambda step: (1, 1)):
  """Returns (w, gamma) after one step for each of these b; `mask` says what step i moves."""
  w, gamma = start
  for i, b in enumerate(bs):
    (g_w, g_gamma), (moves_w, moves_gamma) = gradient(w, gamma, b), mask(i)
    w, gamma = w - moves_w * RATE * g_w, gamma - moves_gamma * RATE * g_gamma
  return w, gamma


def test_fedper_trains_head_and_body_together():
  """(1.1, 1.1) and (1.3, 1.3) after one step: w = 1.2. The next step is from (1.2, 1.1) and (1.2, 1.3)."""
  federation = Federation(process('fedper'))
  w, heads = play(federation, both((1, 1)))
  assert w == pytest.approx(1.2, rel=1e-6)
  assert heads == pytest.approx([1.1, 1.3], rel=1e-6)
  ends = [sgd((1.2, gamma), [b]) for gamma, b in ((1.1, 2), (1.3, 4))]
  w, heads = play(federation, both((1, 1)))
  assert w == pytest.approx(np.mean([end[0] for end in ends]), rel=1e-6)
  assert heads == pytest.approx([end[1] for end in ends], rel=1e-6)


def test_fedrep_trains_the_head_first_and_the_body_with_the_new_head():
  """Heads 1.1 and 1.3; bodies 1 + 0.1 * 0.9 * 1.1 = 1.099 and 1 + 0.1 * 2.7 * 1.3 = 1.351."""
  federation = Federation(process('fedrep', head_epochs=1))
  w, heads = play(federation, both())
  assert w == pytest.approx(1.225, rel=1e-6)
  assert heads == pytest.approx([1.1, 1.3], rel=1e-6)
  ends = [sgd((1.225, gamma), [b, b], lambda i: (i, 1 - i)) for gamma, b in ((1.1, 2), (1.3, 4))]
  w, heads = play(federation, both())
  assert w == pytest.approx(np.mean([end[0] for end in ends]), rel=1e-6)
  assert heads == pytest.approx([end[1] for end in ends], rel=1e-6)


@pytest.mark.parametrize(('name', 'steps', 'ends'), [('fedper', 1, (1.1, 1.3)), ('fedrep', 2, (1.099, 1.351))])
def test_the_mean_of_the_bodies_is_by_the_clients_weights(name, steps, ends):
  federation = Federation(process(name, **({'head_epochs': 1} if name == 'fedrep' else {})))
  w, _ = play(federation, both((steps, steps), weights=(1.0, 3.0)))
  assert w == pytest.approx((ends[0] + 3 * ends[1]) / 4, rel=1e-6)
  assert ALGORITHMS[name]().policy.weighting == 'examples'


def test_a_straggler_that_never_reaches_the_body_keeps_its_head_and_counts_for_nothing():
  federation = Federation(process('fedrep', head_epochs=1))
  w, heads = play(federation, both((2, 1), weights=(1.0, 3.0)))
  assert w == pytest.approx(1.099, rel=1e-6)
  assert heads == pytest.approx([1.1, 1.3], rel=1e-6)
  w, heads = play(federation, both((1, 1)))  # nobody reaches it
  assert w == pytest.approx(1.099, rel=1e-6)
  assert heads == pytest.approx([sgd((w, g), [b], lambda i: (0, 1))[1] for g, b in ((1.1, 2), (1.3, 4))], rel=1e-6)
  assert federation.metrics['finalizer']['skipped'] == 0


def test_phases_are_of_epochs():
  """Of two batches each: two steps are of the head, two of the body; one of three steps is a straggler's."""
  federation = Federation(process('fedrep', head_epochs=1))
  payloads = [payload([2, 3], steps=n, batch_size=1) for n in (4, 3)]
  order = payloads[0]['context'][0]['order'][:4, 0]
  bs = [(2, 3)[row] for row in order]
  ends = [sgd((1, 1), bs[:n], lambda i: (i >= 2, i < 2)) for n in (4, 3)]
  w, heads = play(federation, payloads)
  assert w == pytest.approx(np.mean([end[0] for end in ends]), rel=1e-6)
  assert heads == pytest.approx([end[1] for end in ends], rel=1e-6)


def test_the_servers_learning_rate_multiplies_the_step_to_the_mean():
  federation = Federation(process('fedrep', head_epochs=1, server_learning_rate=0.5))
  assert play(federation, both())[0] == pytest.approx(1 + 0.5 * 0.225, rel=1e-6)


def test_fedrep_without_a_phase_of_the_head_averages_bodies_under_the_initial_heads():
  federation, w = Federation(process('fedrep', head_epochs=0)), 1.0
  for _ in range(2):
    w = np.mean([sgd((w, 1), [b, b], lambda i: (1, 0))[0] for b in (2, 4)])
    found, heads = play(federation, both())
    assert found == pytest.approx(w, rel=1e-6)
    assert heads == [1.0, 1.0]


def test_fedper_of_one_client_is_sgd():
  federation, end = Federation(process('fedper')), (1, 1)
  for _ in range(3):
    end = sgd(end, [4, 4])
    w, heads = play(federation, [payload([4], steps=2)])
    assert [w, *heads] == pytest.approx(end, rel=1e-6)


@pytest.mark.parametrize(('name', 'arguments'), [('fedper', {}), ('fedrep', {'head_epochs': 2})])
def test_where_all_is_head_each_client_trains_alone(name, arguments):
  federation, ends = Federation(process(name, head=(True, True), **arguments)), [(1, 1), (1, 1)]
  for _ in range(2):
    ends = [sgd(end, [b, b]) for end, b in zip(ends, (2, 4), strict=True)]
    w, kept = play(federation, both())
    assert w == 1.0
    assert kept == pytest.approx([*ends[0], *ends[1]], rel=1e-6)


def test_a_client_that_joins_later_has_the_initial_head_and_the_new_body():
  federation = Federation(process('fedper'))
  w, _ = play(federation, [payload([2], steps=1)], clients=[0])
  end = sgd((w, 1), [4])
  w, heads = play(federation, [payload([4], steps=1)], clients=[1])
  assert w == pytest.approx(end[0], rel=1e-6)
  assert heads == pytest.approx([1.1, end[1]], rel=1e-6)


@pytest.mark.parametrize(('head', 'exchanged'), [((False, False), 4), (HEAD, 2), ((True, True), 0)])
def test_numbers_that_stay_are_not_counted_as_sent(head, exchanged):
  """Of each client; FedRep's also says whether it has reached the body."""
  for name, more in (('fedper', 0), ('fedrep', 1)):
    federation = Federation(process(name, head=head))
    play_ = federation.play(both((1, 1)), weigh=lambda f: f.metrics['client_work']['num_floats'])
    assert play_ == 2 * (exchanged + more)


def test_adaptation_moves_the_head_alone():
  """From (1.2, 1.1), two epochs of one batch with b = 2 and 4, whose mean has the gradient at b = 3."""
  algorithm, model = fedrep(head_epochs=1, adaptation_epochs=2), two_numbers()
  sgdm = tff.learning.optimizers.build_sgdm(RATE)
  adapt = build_adaptation(algorithm, model, sgdm, AS_IT_IS)
  examples = (tf.zeros(3), tf.constant([9.0, 2.0, 4.0]))
  context = context_of(algorithm.client.adapt, examples, range(1, 3), batch_size=8, seed=0, client=0)
  hparams = {'learning_rate': tf.constant(RATE)}
  adapted = adapt((tf.constant(1.2), tf.constant(1.1)), (), hparams, examples, context)
  assert [float(w) for w in adapted] == pytest.approx(sgd((1.2, 1.1), [3, 3], lambda i: (0, 1)), rel=1e-6)
  assert fedrep().client.adapt is None


def of_three(k, steps):
  rng = np.random.default_rng(k)
  x = (rng.normal(size=(8, 3)) + k).astype(np.float32)
  return client_payload({'x': x, 'y': (x[:, 0] > k).astype(np.int32)}, num_epochs=3, batch_size=4, key=(k,),
                        num_steps=steps)  # fmt: skip


@functools.cache
def normalised():
  return mlp_bn(hidden_units=4).build(Task((3,), 2), seed=0)


@pytest.mark.parametrize(('factory', 'steps'), [(fedper, 6), (functools.partial(fedrep, head_epochs=1), 6)])
def test_only_the_last_layer_stays_and_normalisation_layers_are_shared(factory, steps):
  optimizer = tff.learning.optimizers.build_sgdm(RATE)
  federation = Federation(build_process(factory(), normalised(), client_optimizer=optimizer))
  federation.play([of_three(0, steps), of_three(1, steps)], weigh=lambda _: None)
  after = federation.state.global_model_weights.trainable
  same = [np.array_equal(a, b) for a, b in zip(normalised().initial_weights, after, strict=True)]
  assert same == [False] * (len(same) - 2) + [True, True]
  for first, second in zip(*(federation.client_states[k] for k in (0, 1)), strict=True):
    assert not np.allclose(first, second, rtol=1e-3)


def test_statistics_of_a_client_that_never_reached_the_body_do_not_reach_the_server():
  """They have followed its batches, but it counts for nothing: the bodies are those of the others alone, or stay."""
  optimizer = tff.learning.optimizers.build_sgdm(RATE)
  process = build_process(fedrep(head_epochs=1), normalised(), client_optimizer=optimizer)
  for others in ([], [of_three(1, 6)]):
    ends = []
    for cohort in ([of_three(0, 2), *others], others):
      federation = Federation(process)
      federation.play(cohort, weigh=lambda _: None)
      ends.append(federation.state.global_model_weights.trainable)
    for mixed, alone in zip(*ends, strict=True):
      np.testing.assert_allclose(mixed, alone, rtol=1e-6, atol=1e-7)
