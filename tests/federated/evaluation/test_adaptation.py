# SPDX-License-Identifier: Apache-2.0
"""On a model of two classes whose inputs are 0, so that its bias alone learns. With b_0 - b_1 = d, label 1 has the
probability p = 1 / (1 + exp(d)), and of an example with label 0 the gradient by the bias is (-p, p).
"""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedavg_ft, per_fedavg
from fedprox_tff.algorithms.base import Adaptation, Step
from fedprox_tff.core.task import Task
from fedprox_tff.federated.evaluation.adaptation import AdaptedModels, build_adaptation, context_of
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.passes import AS_IT_IS, GradientRule
from fedprox_tff.federated.payloads import batch_order
from fedprox_tff.models import logistic

MODEL = logistic().build(Task((1,), 2), seed=0)
ZERO = (np.zeros((2, 1), np.float32), np.zeros(2, np.float32))
LABELS = np.int32([0, 0, 0, 1, 0, 1, 1])  # client 0 has the first row, client 1 none, client 2 the other six
ROWS = [range(1), range(1, 1), range(1, 7)]


def adaptation_of(algorithm, *, optimizer=None, rule=AS_IT_IS):
  """Returns a function from where a client starts, and its index, to the bias that it ends at."""
  optimizer = optimizer or tff.learning.optimizers.build_sgdm(1.0)
  adapt = build_adaptation(algorithm, local_model(MODEL), optimizer, rule)

  def run(client, *, start=ZERO, labels=LABELS, batch_size=4, seed=0, **hparams):
    examples = collections.OrderedDict(x=np.zeros((len(labels), 1), np.float32), y=labels)
    context = context_of(
      algorithm.client.adapt, examples, ROWS[client], batch_size=batch_size, seed=seed, client=client
    )
    tensors = {name: tf.constant(value) for name, value in hparams.items()}
    kernel, bias = adapt(start, (), tensors, examples, context)
    np.testing.assert_array_equal(kernel, start[0])
    return bias.numpy().tolist()

  return run


def p(d):
  return 1 / (1 + math.exp(d))


def test_a_client_goes_on_by_local_steps_on_its_own_examples():
  """Two epochs of one example with label 0, from 0 and from d = 2, with rate 0.5."""
  run = adaptation_of(fedavg_ft(adaptation_epochs=2))
  first = 0.5 * p(0)
  end = first + 0.5 * p(2 * first)
  assert run(0, learning_rate=0.5) == pytest.approx([end, -end], rel=1e-6)
  first = 0.5 * p(2)
  end = first + 0.5 * p(2 + 2 * first)
  start = (ZERO[0], np.float32([2, 0]))
  assert run(0, start=start, learning_rate=0.5) == pytest.approx([2 + end, -end], rel=1e-6)


def test_one_graph_serves_batches_and_data_of_any_size():
  """Client 2 has three labels of each kind, so that the mean gradient at 0 is 0."""
  run = adaptation_of(fedavg_ft())
  assert run(2, learning_rate=0.5, batch_size=6) == pytest.approx([0, 0], abs=1e-7)
  assert run(0, learning_rate=0.5) == pytest.approx([0.25, -0.25], rel=1e-6)
  assert run(0, learning_rate=0.5, labels=np.int32([1, 1])) == pytest.approx([-0.25, 0.25], rel=1e-6)


def test_a_client_without_examples_keeps_what_it_starts_from():
  start = (ZERO[0], np.float32([0.3, -0.7]))
  for algorithm, hparams in ((fedavg_ft(), {}), (per_fedavg(), {'personal_learning_rate': 0.5})):
    run = adaptation_of(algorithm)
    assert run(1, start=start, learning_rate=0.5, **hparams) == start[1].tolist()


def test_no_epochs_change_nothing():
  assert adaptation_of(fedavg_ft(adaptation_epochs=0))(2, learning_rate=0.5) == [0.0, 0.0]


def first_batch(seed, batch_size):
  """Returns the labels of the first batch of client 2."""
  order = batch_order(6, num_epochs=1, batch_size=batch_size, key=(seed, 0, 2))
  return LABELS[1:7][order[0]]


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_per_fedavg_takes_one_step_of_its_own_length_on_the_first_batch(seed):
  """By plain SGD, whatever the client optimizer and its learning rate are."""
  run = adaptation_of(per_fedavg(), optimizer=tff.learning.optimizers.build_adam(7.0))
  others = {'beta_1': 0.9, 'beta_2': 0.999, 'epsilon': 1e-7}
  moved = 0.25 * np.mean(0.5 - first_batch(seed, 2))
  bias = run(2, batch_size=2, seed=seed, learning_rate=7.0, personal_learning_rate=0.25, **others)
  assert bias == pytest.approx([moved, -moved], rel=1e-6)


def test_the_seeds_above_tell_batches_apart():
  assert len({sum(first_batch(seed, 2)) for seed in (0, 1, 2)}) > 1


def test_steps_are_counted_up_to_the_end_of_the_epochs():
  """On client 2, three steps of two examples in an epoch."""

  def step(local, batch, hparams):
    return Step((tf.zeros((2, 1)), -tf.ones(2)))  # adds the learning rate

  for epochs, num_steps, taken in ((2, None, 6), (2, 4, 4), (2, 6, 6), (2, 7, 6), (1, 0, 0), (0, 1, 0)):
    base = fedavg_ft()
    adaptation = Adaptation(epochs, step, num_steps)
    run = adaptation_of(base._replace(client=base.client._replace(adapt=adaptation)))
    assert run(2, batch_size=2, learning_rate=0.5) == [0.5 * taken] * 2


def test_a_step_size_of_its_own_is_not_scaled():
  def step(local, batch, hparams):
    return Step((tf.zeros((2, 1)), -hparams['own'] * tf.ones(2)))

  base = fedavg_ft()
  own = base.client._replace(adapt=Adaptation(1, step, 1, own_step_size=True))
  assert adaptation_of(base._replace(client=own))(0, learning_rate=0.5, own=3.0) == [3.0, 3.0]


def test_gradients_are_cut_as_in_training():
  """The gradient (-1/2, 1/2), of norm sqrt(1/2), is cut to 1/10; then l2 b is added, of a b at d = 0."""
  run = adaptation_of(fedavg_ft(), rule=GradientRule(0.1, 0.5))
  start = (ZERO[0], np.float32([2, 2]))
  cut = 0.1 * math.sqrt(0.5)
  assert run(0, start=start, learning_rate=1.0) == pytest.approx([2 + cut - 1, 2 - cut - 1], rel=1e-6)


def test_what_a_client_draws_is_named_by_seed_and_client():
  def context(seed, client):
    adaptation = fedavg_ft(adaptation_epochs=3).client.adapt
    tensors = context_of(adaptation, None, range(10, 30), batch_size=4, seed=seed, client=client)
    return {name: tensor.numpy() for name, tensor in tensors.items()}

  one = context(3, 5)
  for name, value in context(3, 5).items():
    np.testing.assert_array_equal(value, one[name])
  np.testing.assert_array_equal(one['order'][:15], 10 + batch_order(20, num_epochs=3, batch_size=4, key=(3, 0, 5)))
  assert (int(one['num_steps']), int(one['first_row']), int(one['num_examples'])) == (15, 10, 20)
  for other in (context(4, 5), context(3, 6)):
    assert (other['order'] != one['order']).any()
    assert (other['key'] != one['key']).all()


def test_models_are_made_when_they_are_read():
  read = []
  models = AdaptedModels(lambda client: read.append(client) or (client,), 3)
  assert (list(models), len(models), read) == ([0, 1, 2], 3, [])
  assert (models[2], read) == ((2,), [2])
