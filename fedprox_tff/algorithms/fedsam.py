# SPDX-License-Identifier: Apache-2.0
"""FedSAM (Qu et al., "Generalized Federated Learning via Sharpness Aware Minimization", ICML 2022, arXiv:2206.02618;
Caldarola, Caputo and Ciccone, "Improving Generalization in Federated Learning by Seeking Flat Minima", ECCV 2022,
arXiv:2203.11834).

FedAvg whose clients look for flat minima: they descend the gradient at the point where the loss of the batch, as far as
its gradient tells, is the largest within a radius of rho. With one norm over all tensors and both gradients of one
batch,

    g = g_k(y),    y <- y - eta g_k(y + rho g / ||g||).

A batch whose gradient is 0 perturbs nothing. Running statistics of normalisation layers follow the batch at y, once.
FedLESAM, `fedlesam`, saves the second gradient; MoFedSAM, `mofedsam`, adds momentum.
"""

from fedprox_tff.algorithms.base import Algorithm, Batch, ClientRule, Hparams, Local, Policy
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def fedsam(*, rho: float = 0.1) -> Algorithm:
  """Returns FedSAM.

  Args:
    rho: The length of the perturbation; that of FL-Simulator, whose authors compare with FedSAM.
  """

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    ascent = batch.gradient(local.weights)
    length = tree.divide(hparams['rho'], tree.norm(ascent))
    return batch.gradient(tree.add(local.weights, tree.scale(length, ascent)))

  return Algorithm(
    name='fedsam',
    title='FedSAM',
    client=ClientRule(hparams={'rho': rho}, gradient=gradient),
    policy=Policy(weighting='uniform'),
  )
