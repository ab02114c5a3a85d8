# SPDX-License-Identifier: Apache-2.0
"""DualPROX, a client of the fedtorch framework (NPCLEI/fedtorch, arXiv:2511.00469). No paper defines it.

What its source's comment intends: each local step minimises F_k(y) + mu/2 ||y - w^t||^2 + nu/2 ||y - y_{j-1}||^2, so

    y_{j+1} = y_j - lr (g_k(y_j) + mu (y_j - w^t) + nu (y_j - y_{j-1})),    y_{-1} = y_0 = w^t,

FedProx with a negative momentum of size lr nu (nu is the comment's lambda; `step_penalty` here). That is the rule here.
The released code does otherwise: it halves both coefficients, clips gradients at 1, and overwrites y_{j-1} by y_j
before each step, so that its second term is always zero. The defaults of mu and nu are its own.
"""

from fedprox_tff.algorithms.base import Algorithm, Batch, Examples, Hparams, Local, Start, Step
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.core import tree


def dualprox(*, mu: float = 0.01, step_penalty: float = 0.1) -> Algorithm:
  """Returns DualPROX.

  Args:
    mu: Strength of the proximal term.
    step_penalty: Strength of the term that holds a step at the iterate before.
  """
  base = fedprox(mu=mu)

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples, hparams
    return Start(local.anchor, scratch=local.anchor)

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    penalty = tree.scale(hparams['step_penalty'], tree.sub(local.weights, local.scratch))
    return Step(tree.add(base.client.gradient(local, batch, hparams), penalty), scratch=local.weights)

  hparams = {'mu': mu, 'step_penalty': step_penalty}
  return base._replace(
    name='dualprox',
    title='DualPROX',
    line='-',
    client=base.client._replace(hparams=hparams, start=start, step=step),
  )
