# SPDX-License-Identifier: Apache-2.0
"""Rounds on a cluster of two nodes have the bits of rounds in this process, whoever works and whoever dies."""

import hashlib
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

pytest.importorskip('ray', reason='"make ray" installs Ray')

from fedprox_tff.algorithms import feddane, fedprox, scaffold
from fedprox_tff.cluster.versions import versions
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.rounds import Rounds
from fedprox_tff.federated.runtimes import on_ray
from fedprox_tff.models import logistic
from tests.cluster_data import digits, loaded, loaded_elsewhere
from tests.federations import load
from tests.ray_nodes import soon, workers

KIND = 'ray::RoundWorker'
ROUNDS = 3
EXPECTED = {}  # bits after each round in this process, by method
SIZES = [300, *range(3, 28)]  # a client that goes alone, three groups of eight, and one more


def bits_of(state, kept):
  digest = hashlib.sha256()
  for array in tf.nest.flatten([state.global_model_weights.trainable, [kept[place] for place in sorted(kept)]]):
    digest.update(np.ascontiguousarray(array))
  return digest.hexdigest()


def train(process, runtime, disturb=lambda round_num, place: None):
  """Returns the bits of the weights, and of what clients keep, after each round.

  Args:
    process: The process.
    runtime: The runtime in use.
    disturb: Is called when a client's state is read, and after each round with None.
  """
  examples = Examples(*map(tf.constant, digits()))
  runtime.share(examples, loaded, 'the right one')
  runtime.begin(print)
  kept, seen = {}, []
  rounds, state = Rounds(process, runtime), process.initialize()
  starts = np.cumsum([0, *SIZES]).tolist()
  for round_num in range(ROUNDS):
    before = dict(kept)

    def read(place, round_num=round_num, before=before):
      disturb(round_num, place)
      return before.get(place, process.initial_client_state)

    payloads = [
      client_payload(examples, rows=range(start, start + size), num_epochs=2, batch_size=10, key=(0, round_num, place))
      for place, (start, size) in enumerate(zip(starts, SIZES, strict=False))
    ]
    state, _ = rounds.next(state, payloads, read, kept.__setitem__)
    seen.append(bits_of(state, kept))
    disturb(round_num, None)
  return seen


def process_of(algorithm):
  model = logistic().build(load('digits', data_seed=0).task, seed=0)
  return build_process(
    algorithm, model, client_optimizer=tff.learning.optimizers.build_sgdm(0.03), num_clients=len(SIZES)
  )


def on(address, number):
  return runtimes.use('ray', cluster=runtimes.Cluster(address, number, wait_seconds=60.0))


@pytest.mark.parametrize('number', [1, 2])
def test_any_number_of_workers_has_the_bits_of_this_process(two_nodes, number):
  for algorithm in (fedprox(mu=1.0), scaffold(), feddane(mu=0.1)):
    assert len(set(expected_of(algorithm))) == ROUNDS
  with on(two_nodes, number) as runtime:
    for algorithm in (fedprox(mu=1.0), scaffold(), feddane(mu=0.1)):
      assert train(process_of(algorithm), runtime) == expected_of(algorithm)
  assert soon(lambda: not workers(KIND))


def expected_of(algorithm):
  if algorithm.name not in EXPECTED:
    with runtimes.use('in_process') as runtime:
      EXPECTED[algorithm.name] = train(process_of(algorithm), runtime)
  return EXPECTED[algorithm.name]


def killing(*when):
  """Returns what kills a worker, the first time that a run comes to a place of a round."""
  killed = []

  def disturb(*at):
    if at == when and not killed:
      killed.append(workers(KIND)[0])
      killed[0].kill()

  return disturb


def test_a_worker_that_dies_between_rounds_changes_nothing(two_nodes, capsys):
  expected = expected_of(scaffold())
  with on(two_nodes, 2) as runtime:
    disturbed = train(process_of(scaffold()), runtime, killing(0, None))
  assert disturbed == expected
  assert 'is gone (it died); another one takes over' in capsys.readouterr().out


def test_the_only_worker_may_die_in_the_middle_of_a_round(two_nodes, capsys):
  expected = expected_of(scaffold())
  with on(two_nodes, 1) as runtime:
    disturbed = train(process_of(scaffold()), runtime, killing(1, len(SIZES) - 1))
  assert disturbed == expected
  assert 'no worker is left; waiting up to 60 s for one' in capsys.readouterr().out


def test_a_node_with_other_data_is_refused(two_nodes):
  with on(two_nodes, 1) as runtime:
    runtime.share([tf.constant(array) for array in digits()], loaded_elsewhere, 'the right one')
    with pytest.raises(
      UserError, match=r'^node .* has other data \(some other folder\); all nodes need the same files\.$'
    ):
      runtime.begin(print)


def test_a_node_with_another_version_is_refused(two_nodes, monkeypatch):
  monkeypatch.setattr(on_ray, 'versions', lambda: versions() | {'numpy': '9.9'})
  with on(two_nodes, 1) as runtime, pytest.raises(UserError) as error:
    runtime.begin(print)
  assert re.fullmatch(rf'node .+ has numpy {np.__version__}, and 9\.9 is needed\.', str(error.value))


def test_only_names_of_what_is_shared_are_sent(two_nodes):
  """A payload's examples are named; its order of batches, and the like, are sent."""
  with on(two_nodes, 1) as runtime:
    examples = [tf.constant(array) for array in digits()]
    runtime.share(examples, loaded, 'the right one')
    sent = runtime.workers._values([examples[0], tf.constant([1, 2]), examples[1]])
  assert [type(value).__name__ for value in sent] == ['Shared', 'ndarray', 'Shared']


def test_each_worker_rehearses(two_nodes, monkeypatch):
  """Also the first graphs, which workers learn only when they are needed."""
  asked = []
  with on(two_nodes, 2) as runtime:
    crew = runtime.workers._crew
    ask_all = crew.ask_all

    def counted(method, *args):
      answers = ask_all(method, *args)
      asked.append((method, len(answers)))
      return answers

    monkeypatch.setattr(crew, 'ask_all', counted)
    with runtime.rehearsal():
      train(process_of(fedprox(mu=1.0)), runtime)
  assert set(asked) == {('about', 2), ('work', 2)}
