# SPDX-License-Identifier: Apache-2.0
"""What a process refuses: optimizers and rounds for which its method is not defined."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS, scaffnew, scaffold
from fedprox_tff.algorithms.base import Algorithm, ClientRule, Needs, Report, Server, ServerRule, Start
from fedprox_tff.config import optimizers
from fedprox_tff.config.choice import choose
from fedprox_tff.core import tree
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.rounds import Rounds
from fedprox_tff.federated.sgd import is_plain_sgd
from tests import problems
from tests.core.test_threads import printed

TFFS = tff.learning.optimizers
MOMENTUM = TFFS.build_sgdm(0.1, momentum=0.5)


@pytest.mark.parametrize('rate', [0.0, 0.1])
@pytest.mark.parametrize('momentum', [None, 0.0])
def test_sgd_without_momentum_is_plain(rate, momentum):
  assert is_plain_sgd(TFFS.build_sgdm(rate, momentum=momentum))


@pytest.mark.parametrize(
  'optimizer',
  [
    MOMENTUM,
    TFFS.build_sgdm(0.0, momentum=0.9),
    TFFS.build_adafactor(0.1),
    TFFS.schedule_learning_rate(TFFS.build_sgdm(0.1), lambda step: 0.1 / (1 + tf.cast(step, tf.float32))),
  ],
)
def test_what_remembers_is_not_plain(optimizer):
  assert not is_plain_sgd(optimizer)


class OneOfOnesOwn(TFFS.Optimizer):
  """Has one hyperparameter, and may remember more than it."""

  def __init__(self, hparam, **memory):
    self._hparam, self._memory = hparam, memory

  def initialize(self, specs):
    del specs
    return {self._hparam: 0.1, **self._memory}

  def next(self, state, weights, gradients):
    raise AssertionError('no step is taken')

  def get_hparams(self, state):
    return {self._hparam: state[self._hparam]}


@pytest.mark.parametrize(
  ('optimizer', 'is_plain'),
  [
    (OneOfOnesOwn('learning_rate'), True),
    (OneOfOnesOwn('learning_rate', last_step=0.0), False),
    (OneOfOnesOwn('rate'), False),
  ],
)
def test_an_optimizer_of_ones_own_is_asked_for_what_it_keeps(optimizer, is_plain):
  assert is_plain_sgd(optimizer) == is_plain


@pytest.mark.parametrize('name', optimizers.OPTIMIZERS)
def test_of_the_command_lines_optimizers_sgd_alone_is_plain(name):
  assert is_plain_sgd(optimizers.parse('client_optimizer', name).build().build(0.1)) == (name == 'sgd')


@pytest.mark.parametrize(
  ('name', 'arguments'),
  [
    ('fedavg_m', {}),
    ('scaffold', {}),
    ('scaffnew', {}),
    ('fednar', {'backbone': 'scaffold'}),
    ('fedexp', {'backbone': 'scaffold'}),
  ],
)
@pytest.mark.parametrize('optimizer', [MOMENTUM, TFFS.build_adam(0.1)])
def test_methods_of_plain_sgd_take_no_other_optimizer(name, arguments, optimizer):
  algorithm = choose(ALGORITHMS[name], name, arguments).build()
  with pytest.raises(
    ValueError, match=f'^client_optimizer: clients of {name} take steps of plain SGD; sgd without momentum is needed.$'
  ):
    build_process(algorithm, problems.quadratic(0.0), client_optimizer=optimizer, num_clients=2)


def test_scaffolds_first_option_takes_any_optimizer():
  algorithm = scaffold(scaffold_option=1)
  process = build_process(algorithm, problems.quadratic(0.0), client_optimizer=MOMENTUM, num_clients=2)
  assert problems.run(process, 1, problems.Q, uniform=True)[0] > 0


def scaffnew_process(num_clients=2):
  return problems.process(scaffnew(), start=0.0, learning_rate=0.25, num_clients=num_clients)


def test_a_method_of_all_clients_needs_their_number():
  with pytest.raises(ValueError, match='scaffnew needs num_clients, the number of clients of the federation'):
    scaffnew_process(num_clients=None)


REFUSED = [
  (lambda: problems.payloads(problems.Q[:1]), 'A round of 1 payloads: scaffnew needs all clients in every round, 2.'),
  (lambda: problems.payloads([*problems.Q, problems.Q[0]]), 'A round of 3 payloads: scaffnew needs all clients in .*'),
  (lambda: [], 'A round of 0 payloads: scaffnew needs all clients in every round, 2.'),
  (
    lambda: problems.payloads(problems.Q, num_steps=[2, 0]),
    'A payload of weight 0, which leaves its client out: scaffnew needs all clients in every round, 2.',
  ),
  (
    lambda: problems.payloads(problems.W),
    r'Payloads of the weights 1 to 3: scaffnew is defined for the plain mean; client_payload\(..., weight=1.0\) .*',
  ),
]


@pytest.mark.parametrize(('payloads', 'message'), REFUSED)
def test_a_round_that_scaffnew_is_not_defined_for_is_refused(in_process, payloads, message):
  process = scaffnew_process()
  state = process.initialize()
  with pytest.raises(ValueError, match=f'^{message}$'):
    process.next(state, payloads())

  def refuse(*_):
    raise AssertionError('no client has worked')

  with pytest.raises(ValueError, match=f'^{message}$'):
    Rounds(process, in_process).next(state, payloads(), refuse, refuse)


def test_equal_weights_of_any_size_are_the_plain_mean():
  payloads = problems.payloads(problems.Q)
  for payload in payloads:
    payload['context'][0]['weight'] = np.float32(7)
  assert problems.Federation(scaffnew_process()).play(payloads) == pytest.approx(1.875, rel=1e-6)


def test_a_client_without_examples_is_no_dropped_one():
  nobody = client_payload((np.zeros(0, 'f'), np.zeros(0, 'f')), num_epochs=2, batch_size=8, key=(2,))
  federation = problems.Federation(scaffnew_process(num_clients=3))
  x = federation.play([*problems.payloads(problems.Q, uniform=True), nobody])
  assert x == pytest.approx(1.875, rel=1e-6)
  assert federation.kept(2) == [0.0, 0.0, 0.0]


def test_a_rehearsal_is_of_any_clients(in_process):
  process = scaffnew_process()
  rounds, state = Rounds(process, in_process), process.initialize()
  assert rounds.rehearse(state, problems.payloads(problems.W[1:]), process.initial_client_state) is None


def test_a_method_without_such_needs_is_not_guarded():
  process = problems.process(scaffold(), start=0.0, learning_rate=0.25)
  assert problems.on_any_clients(process) is process


def gathers_from_all():
  """Clients descend the mean of their full gradients, and so need all of them; their weights may differ."""
  return Algorithm(
    name='made_up',
    title='MadeUp',
    client=ClientRule(
      gather=lambda local, examples, hparams: examples.gradient(local.weights),
      start=lambda local, examples, hparams: Start(local.anchor, constants=local.message),
      gradient=lambda local, batch, hparams: local.constants,
      finish=lambda local, examples, hparams: Report(tree.sub(local.anchor, local.weights)),
    ),
    server=ServerRule(init=lambda weights: Server(weights, message=tree.zeros_like(weights))),
    needs=Needs(all_clients=True),
  )


def test_a_method_that_gathers_may_need_all_clients(in_process):
  """W from 2: the gradients are 2 and -2 with weights 1 and 3, their mean -1, and x = 2 + 2 * 0.25 * 1."""
  process = problems.process(gathers_from_all(), start=2.0, learning_rate=0.25)
  payloads = problems.payloads(problems.W)
  assert problems.run(process, 1, problems.W) == pytest.approx([2.5], rel=1e-6)
  state, _ = Rounds(process, in_process).next(process.initialize(), payloads, None, None)
  assert problems.trained(state) == pytest.approx(2.5, rel=1e-6)
  with pytest.raises(ValueError, match='A round of 1 payloads: made_up needs all clients'):
    process.next(process.initialize(), payloads[:1])


def test_refusing_computes_nothing():
  """TensorFlow takes its number of threads when it first computes, which is to be in a runtime."""
  code = (
    'import tensorflow as tf; import tensorflow_federated as tff; '
    'from fedprox_tff.federated.sgd import is_plain_sgd; '
    'assert is_plain_sgd(tff.learning.optimizers.build_sgdm(0.1)); '
    'tf.config.threading.set_intra_op_parallelism_threads(3); '
    'print(tf.config.threading.get_intra_op_parallelism_threads())'
  )
  assert printed(code) == '3'
