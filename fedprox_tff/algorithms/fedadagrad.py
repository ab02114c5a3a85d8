# SPDX-License-Identifier: Apache-2.0
"""FedAdagrad (Reddi et al., ICLR 2021, arXiv:2003.00295, Algorithm 2): `fedopt` with

    v <- v + D^2.

Defaults as FedAdam's, but beta_1 = 0, as in the paper's experiments.
"""

from fedprox_tff import tensors
from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.fedopt import fedopt, papers_root

_TFFS_INITIAL_V = 0.1


def fedadagrad(
  *, server_learning_rate: float = 0.1, beta_1: float = 0.0, tau: float = 0.01, fedopt_form: str = 'paper'
) -> Algorithm:
  """Returns FedAdagrad.

  Args:
    server_learning_rate: lr.
    beta_1: Decay of m.
    tau: Degree of adaptivity: the smaller, the more.
    fedopt_form: 'paper', or 'tff' for `tff.learning.optimizers.build_adagrad` with epsilon tau.
  """
  papers = fedopt_form == 'paper'
  return fedopt(
    'fedadagrad',
    accumulate=lambda v, squared, hparams: v + squared,
    precondition=papers_root if papers else lambda v, rounds, hparams: tensors.sqrt(v + hparams['tau']),
    initial_v=lambda hparams: hparams['tau'] ** 2 if papers else _TFFS_INITIAL_V,
    server_hparams={'learning_rate': server_learning_rate, 'beta_1': beta_1, 'tau': tau},
  )
