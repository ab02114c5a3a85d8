# SPDX-License-Identifier: Apache-2.0
"""FedBN (Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021,
arXiv:2102.07623).

FedAvg, but each client keeps its normalisation layers to itself: scale, shift, running mean and running variance, all
that belongs to a layer of that type. The server never gets them, and its own stay the initial ones. A client's own
model is the server's weights with the client's layers in them; what stands for a client that has none yet, the paper
leaves open: here the initial layers do.
"""

from fedprox_tff.algorithms.base import Algorithm, ClientRule, Examples, Hparams, Local, Policy, Report, Start
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def fedbn() -> Algorithm:
  """Returns FedBN; on a model without normalisation layers it is FedAvg with the plain mean."""

  def own_layers(local: Local) -> Weights:
    return tuple(w for w, is_own in zip(local.weights, local.normalisation, strict=True) if is_own)

  def with_own_layers(local: Local) -> Weights:
    own = iter(local.state)
    return tuple(next(own) if is_own else w for w, is_own in zip(local.anchor, local.normalisation, strict=True))

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples, hparams
    return Start(with_own_layers(local))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    moved = zip(tree.sub(local.anchor, local.weights), tree.zeros_like(local.anchor), local.normalisation, strict=True)
    return Report(tuple(zero if is_own else u for u, zero, is_own in moved), state=own_layers(local))

  return Algorithm(
    name='fedbn',
    title='FedBN',
    client=ClientRule(init=own_layers, start=start, finish=finish, personal=with_own_layers),
    policy=Policy(weighting='uniform'),
  )
