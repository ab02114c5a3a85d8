# SPDX-License-Identifier: Apache-2.0
"""FedGM (Sun et al., "On the Role of Server Momentum in Federated Learning", AAAI 2024, arXiv:2312.12670).

General momentum at the server, FedAvg's clients: with D the mean of w^t - w_k,

    d <- (1 - beta) D + beta d,    h = (1 - nu) D + nu d  (the new d),    w <- w - lr h.

nu = 0 or beta = 0 is FedAvg, nu = 1 damped momentum, FedAvgM with lr (1 - beta). The mean is uniform, as in the paper;
fedtorch, where the rule and beta = nu = 0.9 are read from, weighs by n_k: --weighting=examples.
"""

from fedprox_tff.algorithms.base import Algorithm, Hparams, Policy, Report, Server, ServerRule
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share
from fedprox_tff.core.tree import Weights


def fedgm(*, server_momentum: Share = 0.9, nu: Share = 0.9, server_learning_rate: float = 1.0) -> Algorithm:
  """Returns FedGM.

  Args:
    server_momentum: Decay of the momentum, beta.
    nu: The share of the momentum in the step.
    server_learning_rate: lr.
  """

  def init(weights: Weights) -> Server:
    return Server(weights, kept=tree.zeros_like(weights))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    beta, nu = hparams['server_momentum'], hparams['nu']
    d = tree.mix(beta, server.kept, report.update)
    h = tree.mix(nu, d, report.update)
    return server._replace(weights=tree.sub(server.weights, tree.scale(hparams['learning_rate'], h)), kept=d)

  hparams = {'learning_rate': server_learning_rate, 'server_momentum': server_momentum, 'nu': nu}
  return Algorithm(
    name='fedgm',
    title='FedGM',
    server=ServerRule(hparams=hparams, init=init, update=update),
    policy=Policy(weighting='uniform'),
  )
