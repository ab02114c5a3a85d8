# SPDX-License-Identifier: Apache-2.0
"""FedDANE (Li et al., "FedDANE: A Federated Newton-Type Method", Asilomar 2019, arXiv:2001.01920).

Two communications a round. Clients first send their full gradients at w^t; with g their mean, by n_k, they then descend

    g_k(w) + (g - grad F_k(w^t)) + mu (w - w^t).

The paper samples clients anew for the second communication; the authors' code takes the same ones, as here. Figure 4 of
the FedProx paper compares with it.
"""

from fedprox_tff.algorithms.base import Algorithm, Batch, Examples, Hparams, Local, Policy, Server, ServerRule, Start
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def feddane(*, mu: float = 0.0) -> Algorithm:
  """Returns FedDANE.

  Args:
    mu: Strength of the proximal term. The FedProx paper's comparison does not say its value.
  """
  base = fedprox(mu=mu)

  def gather(local: Local, examples: Examples, hparams: Hparams) -> Weights:
    del hparams
    return examples.gradient(local.anchor)

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del hparams
    return Start(local.anchor, constants=tree.sub(local.message, examples.gradient(local.anchor)))

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    return tree.add(base.client.gradient(local, batch, hparams), local.constants)

  return base._replace(
    name='feddane',
    title='FedDANE',
    line='-',
    client=base.client._replace(gather=gather, start=start, gradient=gradient),
    server=ServerRule(init=lambda weights: Server(weights, message=tree.zeros_like(weights))),
    policy=Policy(),
  )
