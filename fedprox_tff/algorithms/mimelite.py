# SPDX-License-Identifier: Apache-2.0
"""MimeLite (Karimireddy et al., "Breaking the Centralized Barrier for Cross-Device Federated Learning", NeurIPS 2021,
arXiv:2008.03606).

Clients mimic SGD with momentum on the data of all: they use the server's momentum m, 0 at first, which they get beside
w^t and do not change during the round. Only the gradients at w^t renew it:

    y <- y - eta ((1 - beta) g_k(y) + beta m),           local steps from w^t,
    w <- w - lr mean_k (w^t - y_k),    m <- (1 - beta) mean_k grad F_k(w^t) + beta m.

grad F_k(w^t) is over all examples of the client, and goes up beside w^t - y_k; no number of steps enters m. Both means
are uniform, as in the paper's Algorithm 1; fedjax weighs them by n_k (--weighting=examples). TFF's and fedjax's
momentum is not dampened, m <- beta m + mean_k grad F_k(w^t): the same, if eta here is theirs over 1 - beta. The paper
has other base optimizers too. Its full method, Mime, also corrects g_k(y) by the gradients at w^t.
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


def mimelite(*, beta: Share = 0.9) -> Algorithm:
  """Returns MimeLite.

  Args:
    beta: Decay of the momentum. The paper tries 0, 0.9 and 0.99; 0 is FedAvg.
  """

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    return tree.mix(hparams['beta'], local.message, batch.gradient(local.weights))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del hparams
    return Report(tree.sub(local.anchor, local.weights), extra=examples.gradient(local.anchor))

  def message(server: Server, report: Report, hparams: Hparams) -> Weights:
    return tree.mix(hparams['beta'], server.message, report.extra)

  return Algorithm(
    name='mimelite',
    title='MimeLite',
    client=ClientRule(hparams={'beta': beta}, gradient=gradient, finish=finish),
    server=ServerRule(
      hparams={'beta': beta}, init=lambda weights: Server(weights, message=tree.zeros_like(weights)), message=message
    ),
    needs=Needs(plain_sgd=True),
    policy=Policy(weighting='uniform'),
  )
