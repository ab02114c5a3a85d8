# SPDX-License-Identifier: Apache-2.0
"""Ditto (Li et al., "Fair and Robust Federated Learning Through Personalization", ICML 2021, arXiv:2012.04221).

FedAvg for the global model, and beside it a model v_k of each client's own, w^0 at first, which the client trains in
the rounds that it takes part in, step by step on the same batches, towards min F_k(v) + lambda/2 ||v - w||^2:

    v_k <- v_k - lr (g_k(v_k) + lambda (v_k - w^t)).

The anchor is the w^t that the client got, so the global path is FedAvg's whatever lambda is. v_k takes steps of plain
SGD, whatever --client_optimizer is. The authors average uniformly over clients that are sampled in proportion to n_k
without replacement; --sampling=proportional is with replacement.
"""

from typing import Any

from fedprox_tff.algorithms.base import Algorithm, Hparams, Local, Report
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def ditto(*, personal_strength: float = 1.0) -> Algorithm:
  """Returns Ditto.

  Args:
    personal_strength: lambda, how much a client's own model is held to the global one; the authors'.
  """

  def start(local: Local, hparams: Hparams) -> Local:
    del hparams
    return local._replace(scratch=local.state)

  def step(gradient: Weights, local: Local, hparams: Hparams) -> tuple[Weights, Any]:
    v = local.scratch
    pull = tree.scale(hparams['personal_strength'], tree.sub(v, local.anchor))
    descent = tree.scale(hparams['learning_rate'], tree.add(local.gradient_of(v), pull))
    return gradient, local.move_statistics(v, tree.sub(v, descent))

  def finish(local: Local, hparams: Hparams) -> Report:
    del hparams
    return Report(tree.sub(local.anchor, local.weights), state=local.scratch)

  return Algorithm(
    name='ditto',
    hparams={'personal_strength': personal_strength},
    start=start,
    step=step,
    finish=finish,
    start_client=lambda local: local.weights,
    personal=lambda local: local.state,
    weighting='uniform',
  )
