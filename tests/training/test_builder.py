# SPDX-License-Identifier: Apache-2.0
"""Runs that differ in values only share one process, and have the bits that they have alone."""

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.config.record import Config
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.training.builder import Builder
from tests.federations import load

BASE = {'dataset': 'digits'}


@pytest.fixture(scope='module')
def dataset():
  return load('digits', data_seed=0)


def config(**values):
  return Config.from_flags(BASE | values)


def two_rounds(experiment, dataset):
  state = experiment.initial_state
  for round_num in range(2):
    payloads = [
      client_payload(dataset.train.client(k)._asdict(), num_epochs=2, batch_size=10, key=(0, round_num, k))
      for k in range(3)
    ]
    state, _ = experiment.process.next(state, payloads)
  return [np.asarray(w) for w in experiment.process.get_model_weights(state).trainable]


def test_a_shared_process_gives_the_bits_of_its_own(dataset):
  configs = [
    config(),
    config(mu=0.25, seed=4),
    config(learning_rate=0.1),
    config(server_learning_rate=0.5),
  ]
  with runtimes.use('in_process'):
    builder = Builder()
    shared = [builder.build(c, dataset) for c in configs]
    assert len({id(experiment.process) for experiment in shared}) == 1
    together = [two_rounds(experiment, dataset) for experiment in shared]
  for c, weights in zip(configs, together, strict=True):
    with runtimes.use('in_process'):
      alone = two_rounds(Builder().build(c, dataset), dataset)
    for a, b in zip(weights, alone, strict=True):
      np.testing.assert_array_equal(a, b)
  assert len({weights[0].tobytes() for weights in together}) == len(configs)


@pytest.mark.parametrize('algorithm', ['scaffold', 'ditto'])
def test_runs_of_stateful_clients_begin_at_their_own_initial_weights(dataset, algorithm):
  """They share a process, whose own initial client state is that of the first seed."""
  with runtimes.use('in_process'):
    builder = Builder()
    experiments = [builder.build(config(algorithm=algorithm, seed=seed), dataset) for seed in (0, 1)]
  first, second = experiments
  assert first.process is second.process
  expected = [np.asarray(w) for w in first.process.get_model_weights(second.initial_state).trainable]
  if algorithm == 'scaffold':
    expected = [np.zeros_like(w) for w in expected]
  assert len(second.initial_client_state) == len(expected)
  for kept, w in zip(second.initial_client_state, expected, strict=True):
    np.testing.assert_array_equal(kept, w)
  for kept, other in zip(tf.nest.flatten(first.initial_client_state), second.initial_client_state, strict=True):
    assert kept.shape == other.shape


def test_clients_of_other_methods_keep_nothing(dataset):
  with runtimes.use('in_process'):
    experiment = Builder().build(config(), dataset)
  assert experiment.initial_client_state == ()
  assert experiment.evaluate_personal is None


@pytest.mark.parametrize(
  'other', [{'algorithm': 'fedavg'}, {'model': 'cnn'}, {'client_optimizer': 'adam'}, {'server_optimizer': 'adam'}]
)
def test_another_structure_is_another_process(dataset, other):
  with runtimes.use('in_process'):
    builder = Builder()
    assert builder.build(config(), dataset).process is not builder.build(config(**other), dataset).process


def test_another_number_of_clients_is_another_process_for_a_method_of_all_of_them(dataset):
  """A process counts the clients of its rounds; methods of any clients share theirs."""
  fewer = load('digits', data_seed=0, num_clients=dataset.num_clients // 2)
  with runtimes.use('in_process'):
    builder = Builder()
    for name, is_shared in (('scaffnew', False), ('scaffold', True)):
      first, second = (
        builder.build(config(algorithm=name, num_clients=d.num_clients), d).process for d in (dataset, fewer)
      )
      assert (first is second) == is_shared


def test_evaluations_are_of_the_data_set_at_hand(dataset):
  other = load('digits', data_seed=1)
  with runtimes.use('in_process'):
    builder = Builder()
    results = []
    for data in (dataset, other, dataset):
      experiment = builder.build(config(), data)
      weights = experiment.process.get_model_weights(experiment.initial_state).trainable
      results.append(experiment.evaluate_train(weights).loss)
  assert results[0] == results[2] != results[1]


def test_what_stays_on_clients_is_evaluated_as_each_run_keeps_it(dataset):
  """Two runs of one method in one process, which keep different layers."""
  with runtimes.use('in_process'):
    builder = Builder()
    for layers in ('normalisation', 'all', 'normalisation'):
      experiment = builder.build(config(algorithm='fedbn', model='mlp_bn', personal_layers=layers), dataset)
      weights = experiment.process.get_model_weights(experiment.initial_state).trainable
      states = {0: experiment.initial_client_state}
      served, server = experiment.evaluate_personal(weights, states), experiment.evaluate_test(weights)
      assert served.accuracy == pytest.approx(server.accuracy)
      assert served.loss == pytest.approx(server.loss, rel=1e-6)
