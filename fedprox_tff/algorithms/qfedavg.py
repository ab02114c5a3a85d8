# SPDX-License-Identifier: Apache-2.0
"""q-FedAvg (Li, Sanjabi, Beirami and Smith, "Fair Resource Allocation in Federated Learning", ICLR 2020,
arXiv:1905.10497).

It minimises sum_k p_k F_k^{q+1} / (q + 1): the larger q is, the more do clients with a large loss count. Clients take
FedAvg's steps. With F_k = F_k(w^t) and D_k = w^t - w_k,

    w <- w - sum_k p_k F_k^q D_k / sum_k p_k (F_k^q + q / eta F_k^{q-1} ||D_k||^2).

1 / eta stands for the Lipschitz constant L of the gradient, and the sum below for that of the gradient of F_k^{q+1} /
(q + 1); the paper has both sums L times as large. F_k is over all examples of the client, plus 1e-10 as in the authors'
code. p_k are the weights of the mean: equal ones, as in the authors' code, unless --weighting=examples says n_k.
"""

from fedprox_tff.algorithms.base import (
  Algorithm,
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

_SMALLEST_LOSS = 1e-10  # added to each: F^{q-1} is infinite at 0 for q < 1


def qfedavg(*, q: float = 1.0) -> Algorithm:
  """Returns q-FedAvg.

  Args:
    q: How much more a client with a large loss counts; 0 is FedAvg. The authors': 1 (Synthetic, Sent140), 5 (Vehicle),
      0.001 (Shakespeare).
  """

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    q, loss = hparams['q'], examples.loss(local.anchor) + _SMALLEST_LOSS
    update = tree.sub(local.anchor, local.weights)
    slope = q * loss ** (q - 1) * tree.squared_norm(update)
    return Report(tree.scale(loss**q, update), extra=loss**q + tree.divide(slope, hparams['learning_rate']))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    del hparams
    step = tree.scale(tree.divide(1.0, report.extra), report.update)
    return server._replace(weights=tree.sub(server.weights, step))

  return Algorithm(
    name='qfedavg',
    title='q-FedAvg',
    client=ClientRule(hparams={'q': q}, finish=finish),
    server=ServerRule(update=update),
    needs=Needs(plain_sgd=True),
    policy=Policy(weighting='uniform'),
  )
