# SPDX-License-Identifier: Apache-2.0
"""FedNAR (Li et al., "Normalized Annealing Regularization", NeurIPS 2023, arXiv:2310.03163).

Weight decay that is clipped together with the gradient: with g the direction of FedAvg, of FedProx with --mu or
of SCAFFOLD with --backbone=scaffold,

    u = g + lambda w,    w <- w - lr min(1, A / ||u||) u,

the norm over all tensors together. The paper's baseline clips g alone, before lambda w comes: that is FedAvg with
--l2 for lambda and --clip_norm for A. The annealing of the name is that of lr lambda, by a learning rate that decays
over the rounds: --learning_rate_decay, which is 1 unless somebody sets it.
"""

from fedprox_tff.algorithms.backbones import FEDPROX, Backbone
from fedprox_tff.algorithms.base import Algorithm, Batch, Hparams, Local, Step
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def fednar(*, backbone: Backbone = FEDPROX, weight_decay: float = 0.05, max_norm: float = 10.0) -> Algorithm:
  """Returns FedNAR.

  Args:
    backbone: The method whose direction is clipped: FedProx or SCAFFOLD. With SCAFFOLD's option 2 a control variate is
      c_i - c plus the mean of the clipped steps, so that decay and clipping are in it.
    weight_decay: Strength of FedNAR's own decay, lambda, which is clipped together with the gradient, unlike the decay
      of --l2. The authors' for FedAvg, FedProx and SCAFFOLD on CIFAR-10; 0.0001 on Shakespeare.
    max_norm: Norm at which a step is clipped, A; the authors'.
  """

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    decay = tree.scale(hparams['weight_decay'], local.weights)
    return tree.add(backbone.client.gradient(local, batch, hparams), decay)

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    u = gradient(local, batch, hparams)
    return Step(tree.scale(tree.minimum(1.0, hparams['max_norm'] / tree.norm(u)), u))

  hparams = {**backbone.client.hparams, 'weight_decay': weight_decay, 'max_norm': max_norm}
  return backbone._replace(
    name='fednar',
    title='FedNAR',
    line='-',
    client=backbone.client._replace(hparams=hparams, gradient=gradient, step=step),
  )
