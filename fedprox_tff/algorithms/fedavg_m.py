# SPDX-License-Identifier: Apache-2.0
"""FedAvg-M (Cheng et al., "Momentum Benefits Non-IID Federated Learning Simply and Provably", arXiv:2306.16504).

The server sends a direction g beside its weights x, and clients mix it into each step:

    y <- y - eta (beta g_k(y) + (1 - beta) g),      beta in (0, 1]: the weight of the fresh gradient,
    g <- mean_k (x - y_k) / (eta K_k),    x <- x - gamma g,

g from 0; K_k are the steps that client k took, a straggler's too. gamma is `server_learning_rate` times the mean of
eta K_k: with 1, the default, it is eta K where all take K steps, which averages the clients' weights. The means are
uniform. beta = 0.1 is fedtorch's (as FedAVGM), which does not divide by eta K_k; the paper's value was not to be read.

FedCM (Xu et al., "FedCM: Federated Learning with Client-level Momentum", 2021, arXiv:2106.10874) is the same rule, with
alpha for beta. --algorithm=fedcm is this method.
"""

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
  Server,
  ServerRule,
)
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share
from fedprox_tff.core.tree import Weights


def fedavg_m(*, beta: Share = 0.1, server_learning_rate: float = 1.0) -> Algorithm:
  """Returns FedAvg-M.

  Args:
    beta: Weight of the fresh gradient; 1 is FedAvg.
    server_learning_rate: gamma over the mean of eta K_k.
  """

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    return tree.mix(hparams['beta'], batch.gradient(local.weights), local.message)

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples
    length = hparams['learning_rate'] * tree.as_float(local.num_steps)
    return Report(tree.scale(tree.divide(1.0, length), tree.sub(local.anchor, local.weights)), extra=length)

  def init(weights: Weights) -> Server:
    return Server(weights, message=tree.zeros_like(weights))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    gamma = hparams['learning_rate'] * report.extra
    return server._replace(weights=tree.sub(server.weights, tree.scale(gamma, report.update)), message=report.update)

  return Algorithm(
    name='fedavg_m',
    title='FedAvg-M',
    client=ClientRule(hparams={'beta': beta}, gradient=gradient, finish=finish),
    server=ServerRule(hparams={'learning_rate': server_learning_rate}, init=init, update=update),
    needs=Needs(plain_sgd=True),
    policy=Policy(weighting='uniform'),
  )
