# SPDX-License-Identifier: Apache-2.0
"""FedExP (Jhunjhunwala, Wang and Joshi, "Speeding Up Federated Averaging via Extrapolation", arXiv:2301.09604).

FedAvg's clients, FedProx's with --mu, or SCAFFOLD's with --backbone=scaffold; with D_k = w^t - w_k, their mean D over
the M clients, and

    lr = max(1, mean_k ||D_k||^2 / (2 (||D||^2 + epsilon))),    w <- w - lr D.

Norms are over all tensors together, and M counts the clients that contribute. What is evaluated is (w^t + w^{t-1}) / 2,
for w^t swings; training goes on from w^t. Both means are uniform, as in the paper; the authors' code weighs them by n_k
(--weighting=examples) and has M epsilon in the place of epsilon. Their decay of the learning rate and of epsilon,
clipping and weight decay are not part of the method, and not here.
"""

from fedprox_tff.algorithms.backbones import Backbone, proximal
from fedprox_tff.algorithms.base import Algorithm, Hparams, Local, Report, Server
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def fedexp(*, epsilon: float = 0.001, backbone: Backbone = proximal()) -> Algorithm:
  """Returns FedExP.

  Args:
    epsilon: Keeps the step finite where the clients' updates cancel. The authors': 0.001 (CIFAR, CINIC), 0.1 (EMNIST).
    backbone: The method whose clients' steps are changed: 'fedprox', or 'scaffold', whose server keeps its control
      variate too.
    mu: Strength of FedProx's proximal term.
    scaffold_option: How SCAFFOLD's clients renew their control variates.
  """
  base = backbone

  def finish(local: Local, hparams: Hparams) -> Report:
    report = base.finish(local, hparams)
    return report._replace(extra=tree.squared_norm(report.update))

  def start_server(weights: Weights) -> Server:
    return base.start_server(weights)._replace(kept=tree.zeros_like(weights))

  def update_server(server: Server, report: Report, hparams: Hparams) -> Server:
    ratio = report.extra / (2 * (tree.squared_norm(report.update) + hparams['epsilon']))
    step = tree.scale(tree.maximum(1.0, ratio), report.update)
    return server._replace(weights=tree.sub(server.weights, step), kept=step)

  def evaluated(server: Server) -> Weights:
    return tree.add(server.weights, tree.scale(0.5, server.kept))  # half of the last step taken back

  return base._replace(
    name='fedexp',
    finish=finish,
    start_server=start_server,
    update_server=update_server,
    server_hparams={**base.server_hparams, 'epsilon': epsilon},
    evaluated=evaluated,
    straggler_policy='drop',
    weighting='uniform',
  )
