# SPDX-License-Identifier: Apache-2.0
"""FedDyn (Acar et al., "Federated Learning Based on Dynamic Regularization", ICLR 2021, arXiv:2111.04263).

Each client's objective gets a linear term, so that where it is at rest is also where the mean of all objectives is.
With h_k the sum of a client's displacements so far and h the mean of h_k over all N clients, all 0 at first,

    y <- y - eta (g_k(y) + alpha (y - w^t) + alpha h_k),      local steps from w^t,
    h_k <- h_k + (y_k - w^t),
    h <- h + 1/N sum_S (y_k - w^t),    w <- mean_S y_k + h,

S the clients that contribute. The paper's linear term is -<grad_k, y> with grad_k <- grad_k - alpha (y_k - w^t): the
same, grad_k = -alpha h_k. At an exact minimiser y_k it is the gradient of F_k there, so at the fixed point
alpha h_k = -grad F_k(w) and sum_k h_k = 0.

N counts all clients, also those that have never taken part; each one counts once, whatever the weights of the mean.
The authors' code scales alpha by the mean of n_k over all clients over n_k. A client does not know that mean, so alpha
is the same for all clients here.
"""

from typing import Annotated, Literal

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
from fedprox_tff.core.tree import Weights


def feddyn(
  *,
  dynamic_strength: Annotated[float, (1e-6, None)] = 0.01,
  feddyn_evaluated: Literal['server', 'cohort'] = 'server',
) -> Algorithm:
  """Returns FedDyn.

  Args:
    dynamic_strength: Strength of the dynamic regularisation, alpha. The authors' for CIFAR; FL-Simulator's is 0.1.
    feddyn_evaluated: What is evaluated: 'server' w, or 'cohort' the mean of what the last cohort ended with, w - h.
      They are "cld" and "sel" in the authors' code.
  """

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    away = tree.sub(local.weights, local.anchor)
    return tree.add(batch.gradient(local.weights), tree.scale(hparams['dynamic_strength'], tree.add(away, local.state)))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    update = tree.sub(local.anchor, local.weights)
    return Report(update, sums=update, state=tree.sub(local.state, update))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    h = tree.sub(server.kept, tree.scale(1 / hparams['num_clients'], report.sums))
    return server._replace(weights=tree.add(tree.sub(server.weights, report.update), h), kept=h)

  def mean_of_cohort(server: Server) -> Weights:
    return tree.sub(server.weights, server.kept)

  return Algorithm(
    name='feddyn',
    title='FedDyn',
    client=ClientRule(
      hparams={'dynamic_strength': dynamic_strength},
      init=lambda local: tree.zeros_like(local.weights),
      gradient=gradient,
      finish=finish,
    ),
    server=ServerRule(
      init=lambda weights: Server(weights, kept=tree.zeros_like(weights)),
      update=update,
      evaluated=mean_of_cohort if feddyn_evaluated == 'cohort' else None,
    ),
    needs=Needs(num_clients=True),
    policy=Policy(weighting='uniform'),
  )
