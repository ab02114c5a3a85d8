# SPDX-License-Identifier: Apache-2.0
import collections
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ditto, fedavg, fedprox, scaffold
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload, without_steps
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.rounds import Rounds
from fedprox_tff.federated.runtimes import context
from fedprox_tff.federated.runtimes.context import UnsupportedComputationError
from fedprox_tff.federated.runtimes.in_process import InProcessContext
from tests import problems

ELEMENT = collections.OrderedDict(x=tf.TensorSpec([None, 3], tf.float32), y=tf.TensorSpec([None, 1], tf.float32))


def linear_variable_model():
  model = tf.keras.Sequential([tf.keras.layers.InputLayer([3]), tf.keras.layers.Dense(1, kernel_initializer='ones')])
  return tff.learning.models.from_keras_model(model, loss=tf.keras.losses.MeanSquaredError(), input_spec=ELEMENT)


def linear_functional_model():
  @tf.function
  def predict_on_batch(weights, x, training):
    del training
    (kernel, bias), _ = weights
    return x @ kernel + bias

  @tf.function
  def loss(output, label, sample_weight=None):
    del sample_weight
    return tf.reduce_mean((output - label) ** 2)

  weights = (np.ones([3, 1], np.float32), np.zeros([1], np.float32))
  return tff.learning.models.FunctionalModel(
    initial_weights=(weights, ()), predict_on_batch_fn=predict_on_batch, loss_fn=loss, input_spec=ELEMENT
  )


def linear_data(num_clients=5):
  rng = np.random.default_rng(0)
  sizes = [4, 9, 1, 12, 6][:num_clients]
  return [
    collections.OrderedDict(x=rng.normal(size=(n, 3)).astype('f'), y=rng.normal(size=(n, 1)).astype('f')) for n in sizes
  ]


def test_runs_tffs_own_fedavg():
  """`build_weighted_fed_avg` over a functional model, on plain data sets, as its users call it."""
  process = tff.learning.algorithms.build_weighted_fed_avg(
    problems.quadratic(2.0),
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.5),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  data = [tf.data.Dataset.from_tensors((np.full(n, a, 'f'), np.full(n, b, 'f'))).repeat(2) for a, b, n in problems.W]
  state, _ = process.next(process.initialize(), data)
  assert problems.weight_of(process, state) == pytest.approx(2.75, abs=1e-6)


def test_sequences_may_be_lists_of_any_length():
  @tff.tensorflow.computation(tff.SequenceType(np.int32))
  def total(numbers):
    return numbers.reduce(0, lambda a, b: a + b)

  assert total([]) == 0
  assert total([4]) == 4
  assert total([1, 2, 3]) == 6
  assert total(tf.data.Dataset.range(4).map(lambda x: tf.cast(x, tf.int32))) == 6


def test_a_variable_model_trains_like_the_same_functional_one():
  """Its graph keeps variables, which must start anew for every client and not meet those of another call."""
  results = []
  for model in (linear_variable_model, linear_functional_model()):
    process = build_process(fedprox(mu=0.5), model, client_optimizer=tff.learning.optimizers.build_sgdm(0.1))
    state = process.initialize()
    for round_num in range(3):
      payloads = [
        client_payload(d, num_epochs=2, batch_size=5, key=(round_num, k)) for k, d in enumerate(linear_data())
      ]
      state, _ = process.next(state, payloads)
    results.append([np.asarray(w) for w in process.get_model_weights(state).trainable])
  assert np.abs(results[0][0] - 1).max() > 0.1
  for a, b in zip(*results, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_results_have_the_same_bits_however_the_threads_ran():
  process = build_process(fedavg(), linear_functional_model(), client_optimizer=tff.learning.optimizers.build_sgdm(0.1))
  payloads = [client_payload(d, num_epochs=2, batch_size=5, key=(0, k)) for k, d in enumerate(linear_data())]
  seen = set()
  for num_threads in (1, 4):
    context = InProcessContext(num_threads=num_threads)
    with tff.framework.get_context_stack().install(context):
      for _ in range(5):
        state, _ = process.next(process.initialize(), payloads)
        seen.add(np.asarray(process.get_model_weights(state).trainable[0]).tobytes())
    context.close()
  assert len(seen) == 1


def sized_payloads():
  """19 clients of different sizes: one that goes alone, two groups of eight, and two more."""
  sizes = [400, *range(2, 20)]
  rng = np.random.default_rng(0)
  clients = [(rng.normal(size=(n, 3)).astype('f'), rng.normal(size=(n, 1)).astype('f')) for n in sizes]
  return [client_payload(d, num_epochs=2, batch_size=5, key=(0, k)) for k, d in enumerate(clients)]


def next_weights(process, payloads):
  state, metrics = process.next(process.initialize(), payloads)
  assert metrics['client_work']['num_clients'] == len(payloads)
  return np.asarray(process.get_model_weights(state).trainable[0])


def test_groups_give_what_clients_give_alone_and_the_same_bits_again(monkeypatch):
  process = build_process(fedavg(), linear_functional_model(), client_optimizer=tff.learning.optimizers.build_sgdm(0.1))
  payloads = sized_payloads()
  seen = []
  for size in (8, 1):
    monkeypatch.setattr(context, 'LARGEST_GROUP', size)
    here = InProcessContext()
    with tff.framework.get_context_stack().install(here):
      seen += [next_weights(process, payloads), next_weights(process, payloads)]
    here.close()
  assert seen[0].tobytes() == seen[1].tobytes()
  assert seen[2].tobytes() == seen[3].tobytes()
  np.testing.assert_allclose(seen[0], seen[2], atol=1e-6)


def test_groups_are_of_few_sizes_the_largest_clients_first():
  payloads = sized_payloads()[::-1]
  groups = list(context._groups(payloads, 8))
  assert [len(group) for group in groups] == [1, 8, 8, 1, 1]
  assert payloads[groups[0][0]]['context'][0]['num_examples'] == 400
  assert sorted(k for group in groups for k in group) == list(range(19))
  assert list(context._groups([], 8)) == []


def test_what_it_cannot_run_names_the_other_runtime():
  """Two aggregations, the second of which needs the first."""

  @tff.federated_computation(tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(np.float32, tff.CLIENTS))
  def deviation(state, values):
    mean = tff.federated_broadcast(tff.federated_mean(values))
    subtract = tff.tensorflow.computation(lambda a, b: a - b, [np.float32, np.float32])
    return state, tff.federated_mean(tff.federated_map(subtract, (values, mean)))

  with pytest.raises(UnsupportedComputationError, match='--runtime=worker can'):
    deviation(0, [1.0, 2.0])


@pytest.mark.parametrize('wrong', [{'examples': []}, {'examples': [], 'context': [], 'more': []}])
def test_a_payload_of_another_structure_is_refused(wrong):
  process = problems.process(fedavg(), start=0.0, learning_rate=0.1)
  with pytest.raises(TypeError, match='Expected a struct with the names'):
    process.next(process.initialize(), [wrong])


def test_a_sequence_of_two_elements_is_refused_where_one_is_needed():
  process = problems.process(fedavg(), start=0.0, learning_rate=0.1)
  payload = problems.payloads(problems.Q)[0]
  with pytest.raises(ValueError, match='one element is needed; this one has 2'):
    process.next(process.initialize(), [{**payload, 'examples': payload['examples'] * 2}])


NUMBER = tff.FederatedType(np.float32, tff.SERVER)


@tff.tensorflow.computation(np.float32, np.float32)
def square_and_double(broadcast, value):
  return collections.OrderedDict(square=value * value, pair=(2.0 * value, tf.fill([3], value + broadcast)))


@tff.federated_computation(NUMBER, tff.FederatedType(np.float32, tff.CLIENTS))
def round_with_client_values(state, values):
  """Returns the sum of the clients' values, and to each client a struct of its own."""
  kept = tff.federated_map(square_and_double, (tff.federated_broadcast(state), values))
  return state, tff.federated_sum(values), kept


@pytest.mark.parametrize('count', [0, 1, 8, 19])
def test_a_third_result_stays_on_its_client(count):
  values = [float(k) for k in np.random.default_rng(0).permutation(count)]
  state, total, kept = round_with_client_values(0.5, values)
  assert (float(state), float(total)) == (0.5, sum(values))
  assert [float(value['square']) for value in kept] == [value**2 for value in values]
  assert [float(value['pair'][0]) for value in kept] == [2 * value for value in values]
  for value, own in zip(values, kept, strict=True):
    np.testing.assert_array_equal(own['pair'][1], np.full(3, value + 0.5, np.float32))


def test_both_runtimes_know_a_third_result():
  here = round_with_client_values(0.5, [3.0, 1.0, 2.0])
  with runtimes.use('worker'):
    there = round_with_client_values(0.5, [3.0, 1.0, 2.0])
  for a, b in zip(tf.nest.flatten(here[2]), tf.nest.flatten(there[2]), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_third_result_that_the_server_gets_too():
  """Its values must not be taken for those of the aggregation that they are in."""

  @tff.federated_computation(NUMBER, tff.FederatedType(np.float32, tff.CLIENTS))
  def mean_and_values(state, values):
    return state, tff.federated_mean(values, values), values

  _, mean, kept = mean_and_values(0.0, [1.0, 3.0])
  assert float(mean) == 2.5
  assert [float(value) for value in kept] == [1.0, 3.0]


def test_a_third_result_may_be_kept_client_by_client(in_process):
  """So that no more than a few are in memory: the round returns none of them."""
  kept = {}
  numbers = [float(k) for k in range(19)]
  results = in_process.context.run_round(round_with_client_values, 0.5, numbers, None, kept.__setitem__)
  assert len(results) == 2
  assert {k: float(value['square']) for k, value in kept.items()} == {k: k**2 for k in numbers}
  assert round_with_client_values(0.5, [3.0])[2][0]['square'] == 9.0


def test_what_a_client_has_kept_is_read_as_it_works(in_process):
  process, payloads = stateful_process(scaffold()), sized_payloads()[:3]
  initial, read, kept = process.initial_client_state, [], {}
  expected = process.next(process.initialize(), with_states(payloads, [initial] * 3))
  without = [{key: value for key, value in each.items() if key != 'state'} for each in payloads]
  rounds = Rounds(process, in_process)
  state, metrics = rounds.next(
    process.initialize(), without, lambda place: read.append(place) or initial, kept.__setitem__
  )
  assert sorted(read) == sorted(kept) == [0, 1, 2]
  assert [state_bits(kept[k]) for k in range(3)] == [*map(state_bits, expected.client_states)]
  tf.nest.map_structure(np.testing.assert_array_equal, metrics, expected.metrics)
  assert float(state.finalizer['hparams']['num_clients']) == float(expected.state.finalizer['hparams']['num_clients'])


def stateful_process(algorithm):
  model = linear_functional_model()
  return build_process(
    algorithm, model, client_optimizer=tff.learning.optimizers.build_sgdm(0.1), num_clients=len(sized_payloads())
  )


def with_states(payloads, states):
  return [collections.OrderedDict(payload, state=[state]) for payload, state in zip(payloads, states, strict=True)]


def state_bits(state):
  return [np.asarray(leaf).tobytes() for leaf in tf.nest.flatten(state)]


@pytest.mark.parametrize('algorithm', [scaffold, ditto])
def test_each_client_gets_its_own_state_back_in_any_order(algorithm):
  """19 clients of different sizes, which work in groups and in another order; a client alone is the reference."""
  process, payloads = stateful_process(algorithm()), sized_payloads()
  rng = np.random.default_rng(1)
  states = [
    tf.nest.map_structure(lambda leaf: rng.normal(size=np.shape(leaf)).astype('f'), process.initial_client_state)
    for _ in payloads
  ]
  ready = with_states(payloads, states)
  alone = [state_bits(process.next(process.initialize(), [payload]).client_states[0]) for payload in ready]
  assert len({str(bits) for bits in alone}) == len(alone)
  for order in (range(19), range(18, -1, -1), rng.permutation(19).tolist()):
    new = process.next(process.initialize(), [ready[k] for k in order]).client_states
    assert [state_bits(state) for state in new] == [alone[k] for k in order]


def test_a_client_twice_in_a_cohort_gets_the_same_state_twice():
  process = stateful_process(scaffold())
  payloads = sized_payloads()[:9]
  ready = with_states([*payloads, payloads[0], payloads[4]], [process.initial_client_state] * 11)
  new = [state_bits(state) for state in process.next(process.initialize(), ready).client_states]
  assert new[9:] == [new[0], new[4]]
  assert len({str(bits) for bits in new}) == 9


def test_a_dropped_client_keeps_its_state():
  process = stateful_process(ditto())
  payloads = sized_payloads()[:3]
  payloads[1] = without_steps(payloads[1])
  payloads[1]['context'][0]['weight'] = np.float32(0)
  states = [
    tf.nest.map_structure(lambda leaf, k=k: leaf + np.float32(k), process.initial_client_state) for k in (1, 2, 3)
  ]
  new = process.next(process.initialize(), with_states(payloads, states)).client_states
  assert [state_bits(a) == state_bits(b) for a, b in zip(states, new, strict=True)] == [False, True, False]


def test_both_runtimes_agree_on_clients_states_also_of_a_part_of_the_clients():
  results = []
  for name in ('in_process', 'worker'):
    with runtimes.use(name):
      federation = problems.Federation(problems.process(scaffold(), start=0.5, learning_rate=0.25))
      x = [federation.play(problems.payloads(problems.W, num_steps=[1, 2])) for _ in range(3)]
      x.append(
        federation.play(problems.payloads(problems.W)[:1], clients=[1])
      )  # the first one's data, whoever keeps it
      results.append([*x, *federation.kept(0), *federation.kept(1)])
  assert results[0] == pytest.approx(results[1], abs=1e-6)
  assert federation.kept(0) != federation.kept(1)


_ON_ANOTHER_DEVICE = """
import tensorflow as tf

tf.config.set_logical_device_configuration(
  tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedprox
from fedprox_tff.federated.runtimes.in_process import InProcessContext
from tests import problems

tf.debugging.set_log_device_placement(True)
process = problems.process(fedprox(mu=1.0), start=0.0, learning_rate=0.25)
with tff.framework.get_context_stack().install(InProcessContext(device='/CPU:1')), tf.device('/CPU:1'):
  state, _ = process.next(process.initialize(), problems.payloads(problems.Q))
print(problems.trained(state))
"""


def test_clients_compute_on_the_device_that_is_asked_for():
  """As on a GPU; here the other device is a second one of TensorFlow's on the same CPU, and TensorFlow says where."""
  command = [sys.executable, '-c', _ON_ANOTHER_DEVICE]
  environment = os.environ | {'TF_CPP_MIN_LOG_LEVEL': '0'}
  result = subprocess.run(
    command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
  )
  assert result.stdout.splitlines()[-1:] == ['1.5'], result.stderr[-2000:]
  calls = re.findall(r'Executing op StatefulPartitionedCall in device \S*device:(\w+:\d)', result.stderr)
  assert set(calls) == {'CPU:1'}


def test_threads_end_with_the_runtime():
  before = threading.active_count()
  with runtimes.use('in_process'):
    process = problems.process(fedavg(), start=0.0, learning_rate=0.1)
    process.next(process.initialize(), problems.payloads(problems.Q))
    assert threading.active_count() > before
  assert threading.active_count() == before


def count_up(limit):
  """Counts in a TensorFlow variable, slowly."""
  counter = tf.Variable(0, name='counter')

  @tf.function
  def run():
    while counter < limit:
      counter.assign_add(1)
    return counter.read_value()

  return run()


def test_clients_with_variables_do_not_meet():
  """Each call begins with variables of its own, however many run at a time."""

  @tff.federated_computation(tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(np.int32, tff.CLIENTS))
  def total(state, limits):
    return state, tff.federated_sum(tff.federated_map(tff.tensorflow.computation(count_up, np.int32), limits))

  context = InProcessContext(num_threads=4)
  with tff.framework.get_context_stack().install(context):
    assert int(total(0, [500, 1000, 1500, 2000])[1]) == 5000
  context.close()


def test_variables_of_one_name_in_two_computations_are_two():
  three = tff.tensorflow.computation(count_up, np.int32)(3)

  @tff.tensorflow.computation(np.float32)
  def other(x):
    counter = tf.Variable([1.0, 2.0], name='counter')  # another type and shape
    return counter.assign_add([x, x])

  assert int(three) == 3
  np.testing.assert_array_equal(other(1.0), [2.0, 3.0])
