# SPDX-License-Identifier: Apache-2.0
"""FedAdagrad (Reddi et al., ICLR 2021, arXiv:2003.00295, Algorithm 2): `fedopt` with

    v <- v + D^2.

Defaults as FedAdam's, but beta_1 = 0, as in the paper's experiments.
"""

from typing import Any

from fedprox_tff.algorithms.base import Algorithm, Hparams
from fedprox_tff.algorithms.fedopt import Form, fedopt, papers_root
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share

_INITIAL_V = {'authors': 0.0, 'tff': 0.1}


def fedadagrad(
  *, server_learning_rate: float = 0.1, beta_1: Share = 0.0, tau: float = 0.01, fedopt_form: Form = 'paper'
) -> Algorithm:
  """Returns FedAdagrad.

  Args:
    server_learning_rate: lr.
    beta_1: Decay of the first moment m.
    tau: Degree of adaptivity, the smaller the more; its square is the first v.
    fedopt_form: Whose equations: the paper's, those of the authors' code, or 'tff' for those of TFF's optimizer. Its
      epsilon, that of `tff.learning.optimizers.build_adagrad`, is tau.
  """
  return fedopt(
    'fedadagrad',
    'FedAdagrad',
    accumulate=lambda v, squared, hparams: v + squared,
    precondition=_tffs_root if fedopt_form == 'tff' else papers_root,
    initial_v=lambda hparams: hparams['tau'] ** 2 if fedopt_form == 'paper' else _INITIAL_V[fedopt_form],
    hparams={'learning_rate': server_learning_rate, 'beta_1': beta_1, 'tau': tau},
  )


def _tffs_root(v: Any, rounds: Any, hparams: Hparams) -> Any:
  """Returns sqrt(v + tau)."""
  del rounds
  return tree.sqrt(v + hparams['tau'])
