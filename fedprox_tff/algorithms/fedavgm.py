# SPDX-License-Identifier: Apache-2.0
"""FedAvgM (Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution", 2019, arXiv:1909.06335).

FedAvg's clients; with D the mean of w^t - w_k, the server keeps a momentum v and takes

    v <- beta v + D,    w <- w - lr v                (plain: the later papers' and TFF's form, the default)
                        w <- w - lr (D + beta v)     (--nesterov: what the authors' experiments use)

Not damped: v settles at D / (1 - beta). beta = 0.9 is the common choice of their grid {0, .7, .9, .97, .99, .997}.
Cheng et al.'s FedAvg-M, which fedtorch calls FedAVGM, is another method: `fedavg_m`.
"""

from fedprox_tff.algorithms.base import Algorithm, Hparams, Report, Server, ServerRule
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share
from fedprox_tff.core.tree import Weights


def fedavgm(*, server_momentum: Share = 0.9, nesterov: bool = False, server_learning_rate: float = 1.0) -> Algorithm:
  """Returns FedAvgM.

  Args:
    server_momentum: Decay of the momentum, beta.
    nesterov: Whether the step looks ahead, along D + beta v.
    server_learning_rate: lr; 1 in the authors' experiments.
  """

  def init(weights: Weights) -> Server:
    return Server(weights, kept=tree.zeros_like(weights))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    beta = hparams['server_momentum']
    v = tree.add(tree.scale(beta, server.kept), report.update)
    step = tree.add(report.update, tree.scale(beta, v)) if nesterov else v
    return server._replace(weights=tree.sub(server.weights, tree.scale(hparams['learning_rate'], step)), kept=v)

  hparams = {'learning_rate': server_learning_rate, 'server_momentum': server_momentum}
  return Algorithm(name='fedavgm', title='FedAvgM', server=ServerRule(hparams=hparams, init=init, update=update))
