# SPDX-License-Identifier: Apache-2.0
"""FedExP (Jhunjhunwala, Wang and Joshi, "Speeding Up Federated Averaging via Extrapolation", arXiv:2301.09604).

FedAvg's clients, FedProx's with --mu, or SCAFFOLD's with --backbone=scaffold; with D_k = w^t - w_k, their mean D over
the M clients, and

    lr = max(1, mean_k ||D_k||^2 / (2 (||D||^2 + epsilon))),    w <- w - lr D.

Norms are over all tensors together, and M counts the clients that contribute. What is evaluated is (w^t + w^{t-1}) / 2,
for w^t swings; training goes on from w^t. Both means are uniform, as in the paper; the authors' code weighs them by n_k
(--weighting=examples) and has M epsilon in the place of epsilon. Their decay of the learning rate, clipping and weight
decay are not part of the method; --learning_rate_decay, --clip_norm and --l2 set them. Their decay of epsilon is not
here.
"""

from fedprox_tff.algorithms.backbones import FEDPROX, Backbone
from fedprox_tff.algorithms.base import Algorithm, Examples, Hparams, Local, Policy, Report, Server
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def fedexp(*, epsilon: float = 0.001, backbone: Backbone = FEDPROX) -> Algorithm:
  """Returns FedExP.

  Args:
    epsilon: Keeps the step finite where the clients' updates cancel. The authors': 0.001 (CIFAR, CINIC), 0.1 (EMNIST).
    backbone: The method that the clients run: FedProx, or SCAFFOLD, whose server keeps its control variate
      too.
  """

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    report = backbone.client.finish(local, examples, hparams)
    return report._replace(extra=tree.squared_norm(report.update))

  def init(weights: Weights) -> Server:
    return backbone.server.init(weights)._replace(kept=tree.zeros_like(weights))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    ratio = report.extra / (2 * (tree.squared_norm(report.update) + hparams['epsilon']))
    step = tree.scale(tree.maximum(1.0, ratio), report.update)
    return server._replace(weights=tree.sub(server.weights, step), kept=step)

  def evaluated(server: Server) -> Weights:
    return tree.add(server.weights, tree.scale(0.5, server.kept))  # half of the last step taken back

  return backbone._replace(
    name='fedexp',
    title='FedExP',
    line='-',
    client=backbone.client._replace(finish=finish),
    server=backbone.server._replace(
      hparams={**backbone.server.hparams, 'epsilon': epsilon}, init=init, update=update, evaluated=evaluated
    ),
    policy=Policy(weighting='uniform'),
  )
