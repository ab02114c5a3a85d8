# SPDX-License-Identifier: Apache-2.0
"""MoFedSAM (Qu et al., "Generalized Federated Learning via Sharpness Aware Minimization", ICML 2022, arXiv:2206.02618).

FedSAM's gradient in the local steps of `fedavg_m`: with the server's direction s, 0 at first,

    g = g_k(y),    y <- y - eta (beta g_k(y + rho g / ||g||) + (1 - beta) s),
    s <- mean_k (x - y_k) / (eta K_k),    x <- x - gamma s.

The perturbation is along the gradient of the batch alone, without s.
"""

from fedprox_tff.algorithms.base import Algorithm, Batch, Hparams, Local
from fedprox_tff.algorithms.fedavg_m import fedavg_m
from fedprox_tff.algorithms.fedsam import fedsam
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share
from fedprox_tff.core.tree import Weights


def mofedsam(*, rho: float = 0.1, beta: Share = 0.1, server_learning_rate: float = 1.0) -> Algorithm:
  """Returns MoFedSAM.

  Args:
    rho: The length of the perturbation; FL-Simulator's.
    beta: Weight of the fresh gradient; FL-Simulator's, which also has 0.05. 1 is FedSAM.
    server_learning_rate: gamma over the mean of eta K_k.
  """
  momentum = fedavg_m(beta=beta, server_learning_rate=server_learning_rate)
  sharpness = fedsam(rho=rho)

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    return tree.mix(hparams['beta'], sharpness.client.gradient(local, batch, hparams), local.message)

  return momentum._replace(
    name='mofedsam',
    title='MoFedSAM',
    client=momentum.client._replace(hparams={**momentum.client.hparams, **sharpness.client.hparams}, gradient=gradient),
  )
