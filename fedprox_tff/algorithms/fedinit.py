# SPDX-License-Identifier: Apache-2.0
"""FedInit (Sun, Shen and Tao, "Understanding How Consistency Works in Federated Learning via Stage-wise Relaxed
Initialization", NeurIPS 2023, arXiv:2306.05706).

FedAvg, but a client starts away from where it ended when it last took part, y_last:

    y_0 = w^t + beta (w^t - y_last),    w^{t+1} = mean_k y_k.

A client that has never taken part starts at w^t. The authors' simulator (FL-Simulator, --use-RI) has two other rules:
--fedinit_average=steps averages y_k - y_0 instead of y_k - w^t, which is the same where all clients take part and the
mean is plain; and --fedinit_newcomers=initial takes w^0 for the y_last of a client that has never taken part.
"""

from typing import Literal

import numpy as np

from fedprox_tff.algorithms.base import Algorithm, ClientRule, Examples, Hparams, Local, Policy, Report, Start
from fedprox_tff.core import tree


def fedinit(
  *,
  relaxation: float = 0.1,
  fedinit_average: Literal['models', 'steps'] = 'models',
  fedinit_newcomers: Literal['server', 'initial'] = 'server',
) -> Algorithm:
  """Returns FedInit.

  Args:
    relaxation: beta, how far a client starts from w^t; the authors'. Above 0.2 it may diverge.
    fedinit_average: What the server averages: 'models' y_k, the paper's rule, or 'steps' y_k - y_0, the simulator's.
    fedinit_newcomers: Where a client starts that has never taken part: 'server', at w^t, or 'initial', away from w^0 as
      if it had ended there, the simulator's rule.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples
    last, has_last = local.state
    away = tree.sub(local.anchor, last)
    first = tree.add(local.anchor, tree.scale(hparams['relaxation'] * has_last, away))
    return Start(first, constants=first if fedinit_average == 'steps' else ())

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    origin = local.constants if fedinit_average == 'steps' else local.anchor
    return Report(tree.sub(origin, local.weights), state=(local.weights, np.float32(1)))

  return Algorithm(
    name='fedinit',
    title='FedInit',
    client=ClientRule(
      hparams={'relaxation': relaxation},
      init=lambda local: (local.weights, np.float32(fedinit_newcomers == 'initial')),
      start=start,
      finish=finish,
    ),
    policy=Policy(weighting='uniform'),
  )
