# SPDX-License-Identifier: Apache-2.0
"""FedNAR (Li et al., "Normalized Annealing Regularization", NeurIPS 2023, arXiv:2310.03163).

Weight decay that is clipped together with the gradient: with g the direction of FedAvg, or of FedProx with --mu,

    u = g + lambda w,    w <- w - lr min(1, A / ||u||) u,

the norm over all tensors together. Clipping g alone, before lambda w comes, is the baseline of the paper, not this. Its
annealing is that of lr lambda, by a learning rate that decays over the rounds: here the learning rate is constant.
"""

from fedprox_tff import tensors, tree
from fedprox_tff.algorithms.base import Algorithm, Hparams, Local
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.tree import Weights


def fednar(*, weight_decay: float = 0.05, max_norm: float = 10.0, mu: float = 0.0) -> Algorithm:
  """Returns FedNAR.

  Args:
    weight_decay: lambda. The authors' for FedAvg, FedProx and SCAFFOLD on CIFAR-10; 0.0001 on Shakespeare.
    max_norm: A, the authors'.
    mu: Strength of the proximal term.
  """
  backbone = fedprox(mu=mu)

  def direction(gradient: Weights, local: Local, hparams: Hparams) -> Weights:
    decay = tree.scale(hparams['weight_decay'], local.weights)
    u = tree.add(backbone.direction(gradient, local, hparams), decay)
    return tree.scale(tensors.minimum(1.0, hparams['max_norm'] / tensors.norm(u)), u)

  return backbone._replace(
    name='fednar',
    hparams={**backbone.hparams, 'weight_decay': weight_decay, 'max_norm': max_norm},
    direction=direction,
    straggler_policy='drop',
  )
