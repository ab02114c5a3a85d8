# SPDX-License-Identifier: Apache-2.0
"""FedNova (Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization", NeurIPS
2020, arXiv:2007.07481).

Clients that take more local steps pull FedAvg's mean towards their own minimisers. FedNova averages their directions
per step, and takes as many of these as clients have taken on average:

    d_k = (w^t - w_k) / a_k,    w <- w - lr tau sum_k p_k d_k,    tau = sum_k p_k a_k,

p_k the weights of the mean over the clients that contribute. a_k is what a gradient of 1 in each local step would add
up to, over the learning rate eta. With the client optimizer's momentum rho and FedProx's mu it follows the local steps,
from v = a = 0:

    v <- rho v + 1 - eta mu a,    a <- a + v.

So it is K_k, the number of steps taken, for plain SGD, and (1 - (1 - eta mu)^K_k) / (eta mu) for proximal SGD. With
mu > 0 tau is the mean of K_k, as in the authors' code (JYWa/FedNova). That code adds the values of a_k for momentum
and for mu where a run has both; here it is the one that belongs to the steps. `gmf` there is `server_momentum`.
"""

import numpy as np

from fedprox_tff.algorithms.base import (
  Algorithm,
  Batch,
  Examples,
  Hparams,
  Local,
  Needs,
  Policy,
  Report,
  Server,
  Start,
  Step,
)
from fedprox_tff.algorithms.fedavgm import fedavgm
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share


def fednova(*, mu: float = 0.0, server_momentum: Share = 0.0, server_learning_rate: float = 1.0) -> Algorithm:
  """Returns FedNova.

  Args:
    mu: Strength of the proximal term. The authors' runs have 0, or 0.005.
    server_momentum: Decay of the server's momentum. The authors' runs have 0, or 0.9.
    server_learning_rate: lr; 1 in the authors' code.
  """
  base = fedprox(mu=mu)
  momentum = fedavgm(server_momentum=server_momentum, server_learning_rate=server_learning_rate)

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples, hparams
    return Start(local.anchor, scratch=(np.float32(0), np.float32(0)))

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    v, a = local.scratch
    v = hparams.get('momentum', 0.0) * v + 1 - hparams['learning_rate'] * hparams['mu'] * a
    return Step(base.client.gradient(local, batch, hparams), scratch=(v, a + v))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples
    _, a = local.scratch
    per_step = tree.scale(tree.divide(1.0, a), tree.sub(local.anchor, local.weights))
    return Report(per_step, extra=tree.where(hparams['mu'] > 0, tree.as_float(local.num_steps), a))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    tau = report.extra
    return momentum.server.update(server, report._replace(update=tree.scale(tau, report.update)), hparams)

  return base._replace(
    name='fednova',
    title='FedNova',
    line='-',
    client=base.client._replace(start=start, step=step, finish=finish),
    server=momentum.server._replace(update=update),
    needs=Needs(sgd=True),
    policy=Policy(stragglers='partial'),
  )
