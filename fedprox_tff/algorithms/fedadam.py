# SPDX-License-Identifier: Apache-2.0
"""FedAdam (Reddi et al., ICLR 2021, arXiv:2003.00295, Algorithm 2): `fedopt` with

    v <- beta_2 v + (1 - beta_2) D^2.

Defaults: beta_1 and beta_2 of the paper; lr = 0.1 and tau = 0.01 are the best on EMNIST and CIFAR in FedExP's code, and
inside the paper's grids (its best differ for each task).
"""

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.fedopt import Form, fedopt, papers_root, unbiased_root
from fedprox_tff.core.choices import Share


def fedadam(
  *,
  server_learning_rate: float = 0.1,
  beta_1: Share = 0.9,
  tau: float = 0.01,
  fedopt_form: Form = 'paper',
  beta_2: Share = 0.99,
) -> Algorithm:
  """Returns FedAdam.

  Args:
    server_learning_rate: lr.
    beta_1: Decay of the first moment m.
    beta_2: Decay of the second moment v.
    tau: Degree of adaptivity, the smaller the more; its square is the first v.
    fedopt_form: Whose equations: the paper's, those of the authors' code, or 'tff' for those of TFF's optimizer. Its
      epsilon, that of `tff.learning.optimizers.build_adam`, is tau. For Adam the last two are the same.
  """
  papers = fedopt_form == 'paper'
  return fedopt(
    'fedadam',
    'FedAdam',
    accumulate=lambda v, squared, hparams: hparams['beta_2'] * v + (1 - hparams['beta_2']) * squared,
    precondition=papers_root if papers else unbiased_root,
    initial_v=lambda hparams: hparams['tau'] ** 2 if papers else 0.0,
    hparams={'learning_rate': server_learning_rate, 'beta_1': beta_1, 'beta_2': beta_2, 'tau': tau},
  )
