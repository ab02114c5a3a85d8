# SPDX-License-Identifier: Apache-2.0
"""Ditto (Li et al., "Fair and Robust Federated Learning Through Personalization", ICML 2021, arXiv:2012.04221).

FedAvg for the global model, and beside it a model v_k of each client's own, w^0 at first, which the client trains in
the rounds that it takes part in, step by step on the same batches, towards min F_k(v) + lambda/2 ||v - w||^2:

    v_k <- v_k - lr (g_k(v_k) + lambda (v_k - w^t)).

The anchor is the w^t that the client got, so the global path is FedAvg's whatever lambda is. v_k takes steps of plain
SGD, whatever --client_optimizer is. The authors average uniformly over clients that are sampled in proportion to n_k
without replacement; --sampling=proportional is with replacement.
"""

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


def ditto(*, personal_strength: float = 1.0) -> Algorithm:
  """Returns Ditto.

  Args:
    personal_strength: lambda, how much a client's own model is held to the global one; the authors'.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples, hparams
    return Start(local.anchor, scratch=local.state)

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    v = local.scratch
    pull = tree.scale(hparams['personal_strength'], tree.sub(v, local.anchor))
    descent = tree.scale(hparams['learning_rate'], tree.add(batch.gradient(v), pull))
    return Step(batch.gradient(local.weights), scratch=batch.move_statistics(v, tree.sub(v, descent)))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    return Report(tree.sub(local.anchor, local.weights), state=local.scratch)

  return Algorithm(
    name='ditto',
    title='Ditto',
    client=ClientRule(
      hparams={'personal_strength': personal_strength},
      init=lambda local: local.weights,
      start=start,
      step=step,
      finish=finish,
      personal=lambda local: local.state,
    ),
    policy=Policy(weighting='uniform'),
  )
