# SPDX-License-Identifier: Apache-2.0
"""FedLESAM (Fan et al., "Locally Estimated Global Perturbations are Better than Local Perturbations for Federated
Sharpness-aware Minimization", ICML 2024, arXiv:2405.18890).

Sharpness-aware minimisation without a second gradient: the way from the new global model back to the one that the
client got when it last took part, w_old, stands for the ascent direction of the global loss. With one norm over all
tensors,

    delta = rho (w_old - w^t) / ||w_old - w^t||,    y <- y - lr g(y + delta),

delta once a round; then w_old <- w^t. It is 0 for a client that takes part for the first time. The authors' code has
the last step of the server for all clients instead, and other indices and norms than the paper.
"""

import numpy as np

from fedprox_tff.algorithms.base import Algorithm, Hparams, Local, Report
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def fedlesam(*, rho: float = 0.1) -> Algorithm:
  """Returns FedLESAM.

  Args:
    rho: The length of the perturbation; the authors'.
  """

  def start(local: Local, hparams: Hparams) -> Local:
    received_last, has_taken_part = local.state
    back = tree.sub(received_last, local.anchor)
    length = tree.divide(hparams['rho'] * has_taken_part, tree.norm(back))
    return local._replace(constants=tree.scale(length, back))

  def direction(gradient: Weights, local: Local, hparams: Hparams) -> Weights:
    del gradient, hparams
    return local.gradient_of(tree.add(local.weights, local.constants))

  def finish(local: Local, hparams: Hparams) -> Report:
    del hparams
    return Report(tree.sub(local.anchor, local.weights), state=(local.anchor, np.float32(1)))

  return Algorithm(
    name='fedlesam',
    hparams={'rho': rho},
    start=start,
    direction=direction,
    finish=finish,
    start_client=lambda local: (local.weights, np.float32(0)),
    weighting='uniform',
  )
