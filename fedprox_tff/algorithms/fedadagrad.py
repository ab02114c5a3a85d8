# SPDX-License-Identifier: Apache-2.0
"""FedAdagrad (Reddi et al., ICLR 2021, arXiv:2003.00295, Algorithm 2): `fedopt` with

    v <- v + D^2.

Defaults as FedAdam's, but beta_1 = 0, as in the paper's experiments.
"""

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.fedopt import Form, fedopt, papers_root
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share

_TFFS_INITIAL_V = 0.1


def fedadagrad(
  *, server_learning_rate: float = 0.1, beta_1: Share = 0.0, tau: float = 0.01, fedopt_form: Form = 'paper'
) -> Algorithm:
  """Returns FedAdagrad.

  Args:
    server_learning_rate: lr.
    beta_1: Decay of the first moment m.
    tau: Degree of adaptivity, the smaller the more; its square is the first v.
    fedopt_form: Whose equations: the paper's, or 'tff' for those of `tff.learning.optimizers.build_adagrad`, whose
      epsilon is tau.
  """
  papers = fedopt_form == 'paper'
  return fedopt(
    'fedadagrad',
    'FedAdagrad',
    accumulate=lambda v, squared, hparams: v + squared,
    precondition=papers_root if papers else lambda v, rounds, hparams: tree.sqrt(v + hparams['tau']),
    initial_v=lambda hparams: hparams['tau'] ** 2 if papers else _TFFS_INITIAL_V,
    hparams={'learning_rate': server_learning_rate, 'beta_1': beta_1, 'tau': tau},
  )
