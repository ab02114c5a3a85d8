# SPDX-License-Identifier: Apache-2.0
"""What a client can ask of its examples, and what that costs."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.algorithms.base import Algorithm, ClientRule, Needs, Report, Start, Step
from fedprox_tff.core import draws
from fedprox_tff.core.batches import BLOCK
from fedprox_tff.core.task import Inputs, Task
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.passes import AS_IT_IS, AllExamples, Counted, OwnExamples
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.suite_model import functional_model
from fedprox_tff.models import logistic
from fedprox_tff.models.base import Model
from fedprox_tff.models.preparation import prepared
from tests import problems

SGD = tff.learning.optimizers.build_sgdm(0.0)  # nobody moves


def remembers(num_steps):
  """Returns the method whose clients keep, of each local step, the gradient of its batch and of the other one.

  Of models with one scalar weight. State: two vectors of a number for each step.
  """

  def step(local, batch, hparams):
    here = tf.one_hot(local.num_steps, num_steps)
    asked = (batch.gradient(local.weights), batch.other.gradient(local.weights))
    return Step(local.weights, tuple(old + here * g for old, (g,) in zip(local.scratch, asked, strict=True)))

  def finish(local, examples, hparams):
    return Report(tuple(w - w for w in local.anchor), state=local.scratch)

  return Algorithm(
    'made_up',
    'MadeUp',
    client=ClientRule(
      init=lambda local: (np.zeros(num_steps, np.float32), np.zeros(num_steps, np.float32)),
      start=lambda local, examples, hparams: Start(local.anchor, scratch=local.state),
      step=step,
      finish=finish,
    ),
    needs=Needs(other_batch=True),
  )


def remembered(model, examples, *, num_steps, num_epochs, batch_size=2):
  """Returns the gradients of each step's batch and of its other one, and the rows of each step."""
  federation = problems.Federation(build_process(remembers(num_steps), model, client_optimizer=SGD))
  payload = client_payload(examples, num_epochs=num_epochs, batch_size=batch_size, key=(0, 1, 2), num_steps=num_steps)
  federation.play([payload], weigh=lambda f: None)
  return *map(np.asarray, federation.client_states[0]), payload['context'][0]['order']


@pytest.mark.parametrize('num_steps', [6, 4, 1])
def test_another_batch_is_the_next_steps_and_the_last_steps_is_the_first(num_steps):
  """Of five examples in batches of 2, 2 and 1: at x = 0 the gradient of 1/2 (x - b)^2 is minus the batch's mean b."""
  b = np.float32([1, 2, 4, 8, 16])
  own, other, order = remembered(problems.quadratic(0.0), (np.ones_like(b), b), num_steps=num_steps, num_epochs=2)
  means = [-b[order[i][: 1 if i % 3 == 2 else 2]].mean() for i in range(num_steps)]
  assert own.tolist() == means
  assert other.tolist() == [*means[1:], means[0]]


def test_another_batch_may_be_of_the_next_block():
  b = np.arange(BLOCK + 40, dtype=np.float32)
  own, other, order = remembered(
    problems.quadratic(0.0), (np.ones_like(b), b), num_steps=len(b), num_epochs=1, batch_size=1
  )
  assert own.tolist() == (-b[order[: len(b), 0]]).tolist()
  assert other.tolist() == [*own[1:].tolist(), own[0]]


@pytest.mark.parametrize('jit_compile', [True, False])
def test_another_batch_draws_what_its_own_step_draws(jit_compile):
  """Each step multiplies its examples by numbers of its own: the other batch has those of the step that it is of."""

  def logits(weights, x):
    z = weights[0] * x[:, 0]
    return tf.stack([tf.zeros_like(z), z], axis=1)

  def noisy(x, key):
    return tf.cast(x, tf.float32) * draws.uniform([tf.shape(x)[0], 1], key)

  line = Model('line', (np.float32(0),), logits, logits, (1,), jit_compile=jit_compile)
  inputs = Inputs('images', prepare=lambda x: tf.cast(x, tf.float32), augment=noisy)
  model = prepared(line, inputs, input_shape=(1,), input_type='uint8')
  x = np.full((5, 1), 2, np.uint8)
  own, other, _ = remembered(model, collections.OrderedDict(x=x, y=np.zeros(5, np.int32)), num_steps=6, num_epochs=2)
  assert len(set(own.tolist())) == 6
  np.testing.assert_allclose(other, [*own[1:], own[0]], rtol=1e-6)


MODEL = logistic().build(Task((3,), 2), seed=0)


def keras_model():
  dense = tf.keras.layers.Dense(2)
  network = tf.keras.Sequential([tf.keras.layers.InputLayer([3]), dense])
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  spec = collections.OrderedDict(x=tf.TensorSpec([None, 3], tf.float32), y=tf.TensorSpec([None, 1], tf.int32))
  return tff.learning.models.from_keras_model(network, loss=loss, input_spec=spec)


def all_examples(model, examples, rows, counted=None):
  """Returns what a client that holds some rows of the examples can ask."""
  own = OwnExamples(tf.nest.map_structure(tf.constant, examples), (), tf.constant(rows.start), tf.constant(len(rows)))
  build = (lambda: gradient), (lambda: loss)
  gradient, loss = model.build_gradient(), model.build_loss()
  return AllExamples(model, build, AS_IT_IS, own=own, num_components=1, counted=counted or Counted())


@pytest.mark.parametrize('kind', ['ours', 'functional', 'variable'])
def test_the_mean_loss_and_its_gradient_are_over_all_of_the_clients_own_rows(kind):
  """More than are passed at a time, among those of others, and for all kinds of models."""
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2000, 3)).astype(np.float32), rng.integers(0, 2, 2000).astype(np.int32)
  kernel, bias = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=2).astype(np.float32)
  model = {'ours': MODEL, 'functional': functional_model(MODEL), 'variable': keras_model}[kind]
  at, labels = ((kernel.T, bias), y[:, np.newaxis]) if kind == 'variable' else ((kernel, bias), y)
  rows, counted = range(50, 1550), Counted()
  asked = all_examples(local_model(model), collections.OrderedDict(x=x, y=labels), rows, counted)
  at = tuple(map(tf.constant, at))
  loss, gradient = asked.loss(at), asked.gradient(at)

  own, known = x[rows].astype(np.float64), y[rows]
  logits = own @ kernel.T + bias
  shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  residual = (shares - np.eye(2)[known]) / len(rows)
  expected = residual.T @ own
  assert float(loss) == pytest.approx(-np.log(shares[np.arange(len(rows)), known]).mean(), rel=1e-6)
  np.testing.assert_allclose(gradient[0], expected.T if kind == 'variable' else expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(gradient[1], residual.sum(axis=0), rtol=1e-4, atol=1e-6)
  assert counted.over_all_examples == 1  # a loss is no gradient


@pytest.mark.parametrize('chunk', [1, 2, 1024])
def test_the_mean_loss_is_over_labels_where_an_example_has_many(chunk):
  """Label 1 costs log 4 and label 0 log 4/3; -1 is padding. Examples of three labels, one and none."""
  y = np.int32([[0, 0, 1], [1, -1, -1], [-1, -1, -1]])

  def logits(weights, x):
    return tf.zeros([tf.shape(x)[0], 3, 2]) + weights[0]

  bias = (np.log(np.float32([3, 1])),)
  model = Model('line', bias, logits, logits, (3,), jit_compile=False, label_shape=(3,), chunk=chunk)
  asked = all_examples(local_model(model), collections.OrderedDict(x=np.zeros((3, 3), np.float32), y=y), range(3))
  assert float(asked.loss(tuple(map(tf.constant, bias)))) == pytest.approx(
    (2 * np.log(4 / 3) + 2 * np.log(4)) / 4, rel=1e-6
  )


def test_a_client_without_examples_has_no_loss():
  asked = all_examples(
    local_model(MODEL), collections.OrderedDict(x=np.ones((2, 3), np.float32), y=np.zeros(2, np.int32)), range(1, 1)
  )
  assert float(asked.loss(tuple(map(tf.constant, MODEL.initial_weights)))) == 0.0


WEIGHTS = 8  # of MODEL
# Clients with five and two examples, in batches of two: S = 3 and 1, and of two epochs they take 6 + 2 steps.
STEPS, BATCHES = 8, 4
COSTS = [
  ('fedavg', {}, STEPS, 2 * WEIGHTS),
  ('scaffold', {'scaffold_option': 1}, STEPS + BATCHES, 4 * WEIGHTS),
  ('scaffold', {}, STEPS, 4 * WEIGHTS),
  ('pfedme', {'inner_steps': 5}, 5 * STEPS, 2 * WEIGHTS),
  ('ditto', {}, 2 * STEPS, 2 * WEIGHTS),
  ('feddane', {}, 2 * BATCHES + STEPS, 4 * WEIGHTS),  # the full gradient when it is sent, and again when it is used
  ('mimelite', {}, STEPS + BATCHES, 4 * WEIGHTS),
  ('mime', {}, BATCHES + 2 * STEPS, 5 * WEIGHTS),
  ('qfedavg', {}, STEPS, 2 * WEIGHTS + 1),  # a loss is no gradient
  ('per_fedavg', {}, 2 * STEPS, 2 * WEIGHTS),
  ('per_fedavg', {'per_fedavg_form': 'hf'}, 4 * STEPS, 2 * WEIGHTS),
]


@pytest.mark.parametrize(('name', 'arguments', 'gradients', 'floats'), COSTS)
def test_what_a_round_costs(name, arguments, gradients, floats):
  process = build_process(ALGORITHMS[name](**arguments), MODEL, client_optimizer=SGD, num_clients=2)
  federation, payloads = problems.Federation(process), []
  for client, n in enumerate((5, 2)):
    examples = collections.OrderedDict(x=np.ones((n, 3), np.float32), y=np.zeros(n, np.int32))
    payloads.append(client_payload(examples, num_epochs=2, batch_size=2, key=(0, 0, client)))
  for _ in range(2):
    federation.play(payloads, weigh=lambda f: None)
    counts = federation.metrics['client_work']
    assert (int(counts['num_gradients']), int(counts['num_floats'])) == (gradients, 2 * floats)


def test_a_straggler_costs_the_steps_that_it_takes():
  federation = problems.Federation(problems.process(ALGORITHMS['ditto'](), start=0.0, learning_rate=0.25))
  federation.play(problems.payloads(problems.Q, num_steps=[2, 1]))
  assert int(federation.metrics['client_work']['num_gradients']) == 2 * 3
  federation.play(problems.payloads(problems.Q, num_steps=[0, 0]))
  assert int(federation.metrics['client_work']['num_gradients']) == 0
