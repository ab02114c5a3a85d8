# SPDX-License-Identifier: Apache-2.0
"""FedYogi (Reddi et al., ICLR 2021, arXiv:2003.00295, Algorithm 2): `fedopt` with

    v <- v - (1 - beta_2) D^2 sign(v - D^2),

which lets v shrink no faster than by D^2. Defaults as FedAdam's.
"""

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.fedopt import Form, fedopt, papers_root, unbiased_root
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share

_INITIAL_V = {'authors': 0.0, 'tff': 1e-6}


def fedyogi(
  *,
  server_learning_rate: float = 0.1,
  beta_1: Share = 0.9,
  tau: float = 0.01,
  fedopt_form: Form = 'paper',
  beta_2: Share = 0.99,
) -> Algorithm:
  """Returns FedYogi.

  Args:
    server_learning_rate: lr.
    beta_1: Decay of the first moment m.
    beta_2: 1 - beta_2 is the step of v.
    tau: Degree of adaptivity, the smaller the more; its square is the first v.
    fedopt_form: Whose equations: the paper's, those of the authors' code, or 'tff' for those of TFF's optimizer. Its
      epsilon, that of `tff.learning.optimizers.build_yogi`, is tau.
  """
  papers = fedopt_form == 'paper'
  return fedopt(
    'fedyogi',
    'FedYogi',
    accumulate=lambda v, squared, hparams: v - (1 - hparams['beta_2']) * squared * tree.sign(v - squared),
    precondition=papers_root if papers else unbiased_root,
    initial_v=lambda hparams: hparams['tau'] ** 2 if papers else _INITIAL_V[fedopt_form],
    hparams={'learning_rate': server_learning_rate, 'beta_1': beta_1, 'beta_2': beta_2, 'tau': tau},
  )
