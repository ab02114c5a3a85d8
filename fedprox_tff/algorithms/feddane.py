# SPDX-License-Identifier: Apache-2.0
"""FedDANE (Li et al., "FedDANE: A Federated Newton-Type Method", Asilomar 2019, arXiv:2001.01920).

Two communications a round. Clients first send their full gradients at w^t; with g their mean, by n_k, they then descend

    g_k(w) + (g - grad F_k(w^t)) + mu (w - w^t).

The paper samples clients anew for the second communication; the authors' code takes the same ones, as here. Figure 4 of
the FedProx paper compares with it.
"""

from fedprox_tff.algorithms.base import Algorithm, Hparams, Local, Server
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def feddane(*, mu: float = 0.0) -> Algorithm:
  """Returns FedDANE.

  Args:
    mu: Strength of the proximal term. The FedProx paper's comparison does not say its value.
  """
  backbone = fedprox(mu=mu)

  def start(local: Local, hparams: Hparams) -> Local:
    del hparams
    return local._replace(constants=tree.sub(local.message, local.full_gradient_of(local.anchor)))

  def direction(gradient: Weights, local: Local, hparams: Hparams) -> Weights:
    return tree.add(backbone.direction(gradient, local, hparams), local.constants)

  return backbone._replace(
    name='feddane',
    start=start,
    direction=direction,
    gather=lambda local, hparams: local.full_gradient_of(local.anchor),
    start_server=lambda weights: Server(weights, message=tree.zeros_like(weights)),
    straggler_policy='drop',
  )
