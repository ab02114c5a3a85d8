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

from fedprox_tff.algorithms.base import Algorithm, Batch, ClientRule, Examples, Hparams, Local, Policy, Report, Start
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def fedlesam(*, rho: float = 0.1) -> Algorithm:
  """Returns FedLESAM.

  Args:
    rho: The length of the perturbation; the authors'.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples
    received_last, has_taken_part = local.state
    back = tree.sub(received_last, local.anchor)
    length = tree.divide(hparams['rho'] * has_taken_part, tree.norm(back))
    return Start(local.anchor, constants=tree.scale(length, back))

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    del hparams
    return batch.gradient(tree.add(local.weights, local.constants))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    return Report(tree.sub(local.anchor, local.weights), state=(local.anchor, np.float32(1)))

  return Algorithm(
    name='fedlesam',
    title='FedLESAM',
    client=ClientRule(
      hparams={'rho': rho},
      init=lambda local: (local.weights, np.float32(0)),
      start=start,
      gradient=gradient,
      finish=finish,
    ),
    policy=Policy(weighting='uniform'),
  )
