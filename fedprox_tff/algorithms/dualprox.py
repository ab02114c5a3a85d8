# SPDX-License-Identifier: Apache-2.0
"""DualPROX, a client of the fedtorch framework (NPCLEI/fedtorch, arXiv:2511.00469). No paper defines it.

What its source's comment intends: each local step minimises F_k(y) + mu/2 ||y - w^t||^2 + nu/2 ||y - y_{j-1}||^2, so

    y_{j+1} = y_j - lr (g_k(y_j) + mu (y_j - w^t) + nu (y_j - y_{j-1})),    y_{-1} = y_0 = w^t,

FedProx with a negative momentum of size lr nu (nu is the comment's lambda; `step_penalty` here). That is the rule here.
The released code does otherwise: it halves both coefficients, clips gradients at 1, and overwrites y_{j-1} by y_j
before each step, so that its second term is always zero. The defaults of mu and nu are its own.
"""

from fedprox_tff.algorithms.base import Algorithm, Hparams, Local
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def dualprox(*, mu: float = 0.01, step_penalty: float = 0.1) -> Algorithm:
  """Returns DualPROX.

  Args:
    mu: Strength of the proximal term.
    step_penalty: Strength of the term that holds a step at the iterate before.
  """
  base = fedprox(mu=mu)

  def start(local: Local, hparams: Hparams) -> Local:
    del hparams
    return local._replace(scratch=local.weights)

  def step(gradient: Weights, local: Local, hparams: Hparams) -> tuple[Weights, Weights]:
    penalty = tree.scale(hparams['step_penalty'], tree.sub(local.weights, local.scratch))
    return tree.add(base.direction(gradient, local, hparams), penalty), local.weights

  return base._replace(name='dualprox', hparams={'mu': mu, 'step_penalty': step_penalty}, start=start, step=step)
