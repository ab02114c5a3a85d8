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

from typing import Annotated

from fedprox_tff.algorithms.base import (
  Algorithm,
  Batch,
  ClientRule,
  Examples,
  Hparams,
  Local,
  Policy,
  Report,
  Start,
  Step,
)
from fedprox_tff.core import tree


def pfedme(
  *, personal_strength: float = 15.0, personal_learning_rate: float = 0.09, inner_steps: Annotated[int, (0, 1000)] = 5
) -> Algorithm:
  """Returns pFedMe.

  Args:
    personal_strength: lambda, how much theta is held to w_k; the authors'. lr lambda above 1 overshoots.
    personal_learning_rate: The learning rate of the inner steps; the authors'.
    inner_steps: K, inner steps on each batch; the authors'. Each is a part of the graph of a step.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples, hparams
    return Start(local.anchor, scratch=local.anchor)

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    theta, strength = local.scratch, hparams['personal_strength']
    for _ in range(inner_steps):
      pull = tree.scale(strength, tree.sub(theta, local.weights))
      descent = tree.scale(hparams['personal_learning_rate'], tree.add(batch.gradient(theta), pull))
      theta = batch.move_statistics(theta, tree.sub(theta, descent))
    return Step(tree.scale(strength, tree.sub(local.weights, theta)), scratch=theta)

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    return Report(tree.sub(local.anchor, local.weights), state=local.scratch)

  return Algorithm(
    name='pfedme',
    title='pFedMe',
    client=ClientRule(
      hparams={'personal_strength': personal_strength, 'personal_learning_rate': personal_learning_rate},
      init=lambda local: local.weights,
      start=start,
      step=step,
      finish=finish,
      personal=lambda local: local.state,
    ),
    policy=Policy(weighting='uniform'),
  )
