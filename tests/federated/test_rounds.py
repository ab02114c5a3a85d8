# SPDX-License-Identifier: Apache-2.0
"""Whatever kinds of process a method is made of, its rounds are the same in all runtimes of one machine."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.algorithms import fedinit, scaffold
from fedprox_tff.algorithms.base import Algorithm, ClientRule, Report, Server, ServerRule, Start
from fedprox_tff.core import tree
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.rounds import Rounds
from fedprox_tff.federated.runtimes import Runtime, context
from fedprox_tff.federated.runtimes.context import LARGEST_GROUP
from fedprox_tff.federated.runtimes.in_process import InProcessContext
from tests import problems


def gathers_and_keeps():
  """Clients send their full gradient plus what they keep, and descend the mean; they keep the weights that they got."""
  return Algorithm(
    name='made_up',
    title='MadeUp',
    client=ClientRule(
      init=lambda local: tree.zeros_like(local.weights),
      gather=lambda local, examples, hparams: tree.add(examples.gradient(local.weights), local.state),
      start=lambda local, examples, hparams: Start(local.anchor, constants=local.message),
      gradient=lambda local, batch, hparams: local.constants,
      finish=lambda local, examples, hparams: Report(tree.sub(local.anchor, local.weights), state=local.anchor),
    ),
    server=ServerRule(init=lambda weights: Server(weights, message=tree.zeros_like(weights))),
  )


# Q from x = 2 with lr = 0.25, two steps: the gradients are x and 3 (x - 4).
# Round 1: the mean of 2 + 0 and -6 + 0 is -2, and x = 2 + 2 * 0.25 * 2 = 3; both clients keep 2.
# Round 2: the mean of 3 + 2 and -3 + 2 is 2, and x = 3 - 2 * 0.25 * 2 = 2; both clients keep 3.
EXPECTED = [(3.0, [2.0, 2.0]), (2.0, [3.0, 3.0])]


@pytest.mark.parametrize('runtime', ['in_process', 'worker'])
def test_a_method_may_gather_and_keep(runtime):
  process = problems.process(gathers_and_keeps(), start=2.0, learning_rate=0.25)
  kept, told = dict.fromkeys((0, 1), process.initial_client_state), []

  def keep(place, new):
    kept[place] = new
    told.append(place)

  with runtimes.use(runtime) as used:
    rounds, state = Rounds(process, used), process.initialize()
    for x, memory in EXPECTED:
      payloads = problems.payloads(problems.Q, uniform=True)
      state, metrics = rounds.next(state, payloads, kept.__getitem__, keep)
      assert problems.trained(state) == pytest.approx(x)
      assert [float(kept[k][0]) for k in (0, 1)] == pytest.approx(memory)
      assert int(metrics['client_work']['num_steps']) == 4
  assert sorted(told) == [0, 0, 1, 1]  # once a round, and not for what is gathered


def test_its_process_alone_takes_states_in_payloads():
  federation = problems.Federation(problems.process(gathers_and_keeps(), start=2.0, learning_rate=0.25))
  for x, memory in EXPECTED:
    assert federation.play(problems.payloads(problems.Q, uniform=True)) == pytest.approx(x)
    assert [federation.kept(k) for k in (0, 1)] == [pytest.approx([m]) for m in memory]


def test_clients_that_keep_nothing_are_not_asked():
  process = problems.process(Algorithm('made_up', 'MadeUp'), start=0.0, learning_rate=0.25)

  def refuse(*_):
    raise AssertionError('nobody keeps anything')

  with runtimes.use('in_process') as used:
    state, _ = Rounds(process, used).next(process.initialize(), problems.payloads(problems.Q), refuse, refuse)
  assert problems.trained(state) != 0.0


@pytest.mark.parametrize(('largest_result', 'group'), [(context._LARGEST_RESULT, LARGEST_GROUP), (4, 1)])
def test_states_are_kept_as_clients_have_worked(monkeypatch, largest_result, group):
  """With one thread at most three groups of clients are under way; clients with large results are groups of one."""
  monkeypatch.setattr(context, '_LARGEST_RESULT', largest_result)  # bytes
  process = problems.process(scaffold(), start=2.0, learning_rate=0.25, num_clients=48)
  in_hand, most = set(), []

  def read(place):
    in_hand.add(place)
    most.append(len(in_hand))
    return process.initial_client_state

  def keep(place, _):
    in_hand.remove(place)

  with contextlib.closing(InProcessContext(num_threads=1)) as one_thread:
    rounds = Rounds(process, Runtime('in_process', '/CPU:0', lambda: 0.0, one_thread))
    rounds.next(process.initialize(), problems.payloads(problems.Q * 24, uniform=True), read, keep)
  assert (len(most), in_hand) == (48, set())
  assert group <= max(most) <= 3 * group


@pytest.mark.parametrize('runtime', ['in_process', 'worker'])
def test_a_client_that_is_left_out_keeps_what_it_had(runtime):
  """FedInit on Q from 2: client 0 ends at 2 (1 - 0.25)^2, and client 1 is dropped."""
  process = problems.process(fedinit(), start=2.0, learning_rate=0.25)
  kept = {0: process.initial_client_state, 1: ((np.float32(0.5),), np.float32(0))}
  payloads = problems.payloads(problems.Q, num_steps=[2, 0])
  with runtimes.use(runtime) as used:
    Rounds(process, used).next(process.initialize(), payloads, kept.__getitem__, kept.__setitem__)
  assert [float(x) for k in (0, 1) for x in tf.nest.flatten(kept[k])] == pytest.approx([1.125, 1.0, 0.5, 0.0])
