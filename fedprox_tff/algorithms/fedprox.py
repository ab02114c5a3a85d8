# SPDX-License-Identifier: Apache-2.0
"""FedProx (Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, arXiv:1812.06127, Algorithm 2).

Client k minimises h_k(w; w^t) = F_k(w) + mu/2 ||w - w^t||^2 inexactly, within its own budget; the gradient of the
proximal term is mu (w - w^t), so one local step descends

    g_k(w) + mu (w - w^t).

The term pulls a client back to the server's weights. `tff.learning.algorithms.build_weighted_fed_prox` adds
mu (w^t - w), the opposite sign, in all its releases, and so pushes clients away: tests/federated/test_fedprox.py shows
both.
"""

from fedprox_tff.algorithms.adaptive_mu import adaptive_mu
from fedprox_tff.algorithms.base import Algorithm, Hparams, Local
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


class AdaptiveMu(__import__('typing').NamedTuple):
  name: str = 'adaptive'
  initial_mu: float = 0.0


def adaptive(*, initial_mu: float = 0.0):
  return AdaptiveMu('adaptive', initial_mu)


from typing import Annotated

from fedprox_tff.core.choices import OneOf


def fedprox(*, mu: Annotated[float | AdaptiveMu, OneOf({'adaptive': adaptive})] = 1.0) -> Algorithm:
  """Returns FedProx.

  Args:
    mu: Strength of the proximal term, mu >= 0 of the paper's equation 2. 0 is FedAvg with partial work; the paper's
      best values are 1 (synthetic, MNIST, FEMNIST), 0.01 (Sent140) and 0.001 (Shakespeare). 'adaptive' follows the
      paper's rule, see `adaptive_mu`.
    initial_mu: The first value of an adaptive mu.
  """

  def direction(gradient: Weights, local: Local, hparams: Hparams) -> Weights:
    proximal_gradient = tree.scale(hparams['mu'], tree.sub(local.weights, local.anchor))
    return tree.add(gradient, proximal_gradient)

  algorithm = Algorithm(name='fedprox', hparams={'mu': mu}, direction=direction, straggler_policy='partial')
  if not isinstance(mu, AdaptiveMu):
    return algorithm
  return algorithm._replace(
    hparams={'mu': mu.initial_mu}, adapt=lambda losses: {'mu': adaptive_mu(losses, mu.initial_mu)}
  )
