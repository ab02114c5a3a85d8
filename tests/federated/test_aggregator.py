# SPDX-License-Identifier: Apache-2.0
"""TFF's aggregators in the place of the mean, on problem Q: from 0 the updates are 0 and -3.75.

Clipped at 1 they are 0 and -1, and x goes to 0.5. From there client 1 goes to 0.28125 and client 2 to 3.78125.
"""

import collections
import math

import numpy as np
import pytest
import tensorflow_federated as tff

from fedprox_tff.algorithms import ALGORITHMS, ditto, fedavg
from fedprox_tff.core.task import Task
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import logistic
from tests import problems

MEAN = tff.aggregators.MeanFactory()
CLIPPED = [0.5, 0.5 - (0.21875 - 1) / 2]  # 0.890625
both = pytest.mark.parametrize('method', [fedavg, ditto])


def federation_of(method, aggregator, **kwargs):
  values = {'start': 0.0, 'learning_rate': 0.25} | kwargs
  return problems.Federation(problems.process(method(), aggregator=aggregator, **values))


def rounds(federation, number=2):
  return [federation.play(problems.payloads(problems.Q, uniform=True)) for _ in range(number)]


@both
def test_updates_are_clipped_before_they_are_averaged(method):
  federation = federation_of(method, tff.aggregators.clipping_factory(1.0, MEAN))
  assert rounds(federation) == pytest.approx(CLIPPED, rel=1e-6)
  if method is ditto:  # the own model, held to w = 0.5 in the second round: 0 goes to 0.125 and 0.1875
    assert federation.kept(0) == pytest.approx([0.1875], rel=1e-6)


def test_what_clients_keep_is_not_clipped():
  """Ditto's own models after the first round, whatever the server does with the updates."""
  clipped = federation_of(ditto, tff.aggregators.clipping_factory(1.0, MEAN))
  plain = federation_of(ditto, None)
  assert rounds(clipped, 1) != rounds(plain, 1)
  assert [clipped.kept(client) for client in (0, 1)] == [plain.kept(client) for client in (0, 1)]
  assert clipped.kept(1) == [3.0]


@both
def test_updates_that_are_too_large_are_zeroed(method):
  """From 2 the updates are 0.875 and -1.875, of which only the first is below 1; the other counts as 0."""
  federation = federation_of(method, tff.aggregators.zeroing_factory(1.0, MEAN), start=2.0)
  assert rounds(federation, 1) == pytest.approx([2 - 0.875 / 2], rel=1e-6)


@both
def test_tffs_robust_aggregator_moves_its_norm(method):
  """Clipped at 1 at first, then at exp(-0.2 (1/2 - 0.8)), as one of the two was below it; nothing is zeroed."""
  federation = federation_of(method, tff.learning.robust_aggregator())
  norm = math.exp(0.06)
  assert rounds(federation) == pytest.approx([0.5, 0.5 - (0.21875 - norm) / 2], rel=1e-5)


@both
def test_tffs_compression_leaves_small_updates_alone(method):
  federation = federation_of(method, tff.learning.compression_aggregator(zeroing=False, clipping=False))
  assert rounds(federation) == pytest.approx([1.875, 2.4609375], rel=1e-6)


def test_tffs_compression_rounds_large_updates():
  """To one of 256 numbers from the smallest to the largest, where a tensor has more than 20,000."""
  model = logistic().build(Task((10_001,), 2), seed=0)
  rng = np.random.default_rng(0)
  examples = collections.OrderedDict(x=rng.normal(size=(1, 10_001)).astype(np.float32), y=np.int32([0]))
  payload = client_payload(examples, num_epochs=1, batch_size=1, key=(0, 0, 0))
  kernels = []
  for aggregator in (None, tff.learning.compression_aggregator(zeroing=False, clipping=False)):
    sgd = tff.learning.optimizers.build_sgdm(1.0)
    process = build_process(fedavg(), model, client_optimizer=sgd, aggregator=aggregator)
    state, _ = process.next(process.initialize(), [payload])
    kernels.append(np.asarray(process.get_model_weights(state).trainable[0]) - model.initial_weights[0])
  plain, rounded = kernels
  step = (plain.max() - plain.min()) / 255
  error = np.abs(rounded - plain).max()
  assert step / 4 < error < step * 1.01


def gaussian(noise_multiplier=1e-6):
  return tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(noise_multiplier, clients_per_round=2, clip=1.0)


@both
def test_a_differentially_private_mean_is_of_clipped_updates(method):
  assert rounds(federation_of(method, gaussian())) == pytest.approx(CLIPPED, abs=1e-4)


def test_a_differentially_private_mean_has_its_noise():
  """Of the standard deviation 100 over 2 clients."""
  (x,) = rounds(federation_of(fedavg, gaussian(100.0)), 1)
  assert 1e-3 < abs(x - 0.5) < 400


def test_an_unweighted_aggregator_counts_who_is_left_out_as_no_update():
  """Client 1 is dropped, or not finite: the mean of 0 and -1."""
  federation = federation_of(fedavg, gaussian())
  assert federation.play(problems.payloads(problems.Q, num_steps=[0, 2])) == pytest.approx(0.5, abs=1e-4)
  federation = federation_of(fedavg, gaussian())
  clients = [(1.0, math.nan, 1), problems.Q[1]]
  assert federation.play(problems.payloads(clients, uniform=True)) == pytest.approx(0.5, abs=1e-4)
  assert federation.metrics['client_work']['non_finite'] == 1


def test_weights_count_in_a_clipped_mean():
  """W from 2: the updates 1.5 and -1.5 with the weights 1 and 3, clipped at 1."""
  federation = federation_of(fedavg, tff.aggregators.clipping_factory(1.0, MEAN), start=2.0, learning_rate=0.5)
  assert federation.play(problems.payloads(problems.W)) == pytest.approx(2.5, rel=1e-6)


@pytest.mark.parametrize(
  ('name', 'said'),
  [
    ('scaffold', "with scaffold the server gets clients' sums beside the update"),
    ('fedexp', "with fedexp the server gets clients' extra beside the update"),
    ('qfedavg', "with qfedavg the server gets clients' extra beside the update"),
    ('feddane', 'clients of feddane send something before their update'),
    ('mime', 'clients of mime send something before their update'),
  ],
)
def test_methods_that_send_more_than_the_update_are_refused(name, said):
  with pytest.raises(ValueError, match=r'^aggregator: ') as refused:
    problems.process(ALGORITHMS[name](), start=0.0, learning_rate=0.25, aggregator=MEAN)
  assert said in str(refused.value)
  assert '\n' not in str(refused.value)
