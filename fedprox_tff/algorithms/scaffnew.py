# SPDX-License-Identifier: Apache-2.0
"""Scaffnew (Mishchenko et al., "ProxSkip: Yes! Local Gradient Steps Provably Lead to Communication Acceleration!
Finally!", ICML 2022, arXiv:2202.09357).

All clients take local steps with a control variate h_i, 0 at first, and a coin that is common to them ends the round
with probability p after each step:

    x_i <- x_i - lr (g_i(x_i) - h_i)    until the coin says so, then
    x = mean_i x_i,    h_i <- h_i + p / lr (x - x_i),    x_i <- x.

The number of steps of a round is so geometric with mean 1 / p, and drawn from (seed, round). The sum of the h_i stays
0, since x is the plain mean over all clients: the method is defined for full participation, with no straggler left out.
A client settles h_i when it gets x, which is with the next round. Fewer steps than the coin says (of a straggler, or of
a client with so few examples that E epochs are over before) leave the rule as it is, for a factor of each client's own
in the place of p / lr would break the sum; for the same reason lr stays the same. The rule is that of the code of
VR-ProxSkip, a later paper by two of the authors.
"""

from typing import Annotated

import numpy as np

from fedprox_tff.algorithms.base import (
  Algorithm,
  Batch,
  ClientRule,
  Examples,
  Hparams,
  Local,
  Needs,
  Policy,
  Report,
  Schedule,
  Server,
  ServerRule,
  Start,
)
from fedprox_tff.core import streams, tree
from fedprox_tff.core.tree import Weights


def scaffnew(*, communication_probability: Annotated[float, (1e-6, 1)] = 0.1) -> Algorithm:
  """Returns Scaffnew.

  Args:
    communication_probability: p, 0 < p <= 1. The theory's is 1 / sqrt(kappa), kappa the condition number of the
      clients' risks; a logistic regression without a penalty has none, and 0.1 is ours.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples
    last, h, has_taken_part = local.state
    factor = has_taken_part * hparams['communication_probability'] / hparams['learning_rate']
    return Start(local.anchor, constants=tree.add(h, tree.scale(factor, tree.sub(local.anchor, last))))

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    del hparams
    return tree.sub(batch.gradient(local.weights), local.constants)

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    return Report(tree.sub(local.anchor, local.weights), state=(local.weights, local.constants, np.float32(1)))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    del hparams
    return server._replace(weights=tree.sub(server.weights, report.update))  # the mean, for the h_i are made of it

  def round_steps(seed: int, round_num: int) -> int:
    return int(streams.generator('coins', seed, round_num).geometric(communication_probability))

  return Algorithm(
    name='scaffnew',
    title='Scaffnew',
    client=ClientRule(
      hparams={'communication_probability': communication_probability},
      init=lambda local: (local.weights, tree.zeros_like(local.weights), np.float32(0)),
      start=start,
      gradient=gradient,
      finish=finish,
    ),
    server=ServerRule(update=update),
    needs=Needs(all_clients=True, plain_mean=True, plain_sgd=True, same_rate=True),
    schedule=Schedule(round_steps=round_steps),
    policy=Policy(stragglers='partial', weighting='uniform'),
  )
