# SPDX-License-Identifier: Apache-2.0
"""pFedMe (Dinh, Tran and Nguyen, "Personalized Federated Learning with Moreau Envelopes", NeurIPS 2020,
arXiv:2006.08848).

A client descends the Moreau envelope min_theta F_k(theta) + lambda/2 ||theta - w||^2 of its risk. A local step draws
one batch, takes K inner steps on it and one outer step,

    theta <- theta - personal_lr (g_k(theta) + lambda (theta - w_k)),    w_k <- w_k - lr lambda (w_k - theta);

theta is w^t at first and goes on from local step to local step; w_k starts at w^t. The last theta is the client's own
model. The server takes w + beta (mean w_k - w), beta being --server_learning_rate.

R, the local steps, are the round's budget here. In the paper and its code all clients work in each round and only those
that are sampled are averaged; here the others rest. The code also has weight decay of 0.001 and averages by n_k.
"""

from typing import Any

from fedprox_tff.algorithms.base import Algorithm, Hparams, Local, Report
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def pfedme(*, personal_strength: float = 15.0, personal_learning_rate: float = 0.09, inner_steps: int = 5) -> Algorithm:
  """Returns pFedMe.

  Args:
    personal_strength: lambda, how much theta is held to w_k; the authors'. lr lambda above 1 overshoots.
    personal_learning_rate: The learning rate of the inner steps; the authors'.
    inner_steps: K, inner steps on each batch; the authors'.
  """

  def start(local: Local, hparams: Hparams) -> Local:
    del hparams
    return local._replace(scratch=local.anchor)

  def step(gradient: Weights, local: Local, hparams: Hparams) -> tuple[Weights, Any]:
    del gradient
    theta, strength = local.scratch, hparams['personal_strength']
    for _ in range(inner_steps):
      pull = tree.scale(strength, tree.sub(theta, local.weights))
      descent = tree.scale(hparams['personal_learning_rate'], tree.add(local.gradient_of(theta), pull))
      theta = local.move_statistics(theta, tree.sub(theta, descent))
    return tree.scale(strength, tree.sub(local.weights, theta)), theta

  def finish(local: Local, hparams: Hparams) -> Report:
    del hparams
    return Report(tree.sub(local.anchor, local.weights), state=local.scratch)

  return Algorithm(
    name='pfedme',
    hparams={'personal_strength': personal_strength, 'personal_learning_rate': personal_learning_rate},
    start=start,
    step=step,
    finish=finish,
    start_client=lambda local: local.weights,
    personal=lambda local: local.state,
    weighting='uniform',
  )
