# SPDX-License-Identifier: Apache-2.0
"""Mime (Karimireddy et al., "Breaking the Centralized Barrier for Cross-Device Federated Learning", NeurIPS 2021,
arXiv:2008.03606).

MimeLite, and each gradient of a local step corrected by the one of the same batch at w^t. Clients first send their full
gradients at w^t; the server sends their mean c beside its momentum m, 0 at first, and both stay as they are for the
round:

    y <- y - eta ((1 - beta) (g_k(y) - g_k(w^t) + c) + beta m),      g_k(y) and g_k(w^t) of the same batch,
    w <- w - lr mean_k (w^t - y_k),    m <- (1 - beta) c + beta m.

The cohort is the same in both communications.
"""

from fedprox_tff.algorithms.base import (
  Algorithm,
  Batch,
  Examples,
  Hparams,
  Local,
  Report,
  Server,
  ServerRule,
  report_displacement,
)
from fedprox_tff.algorithms.mimelite import mimelite
from fedprox_tff.core import tree
from fedprox_tff.core.choices import Share
from fedprox_tff.core.tree import Weights


def mime(*, beta: Share = 0.9) -> Algorithm:
  """Returns Mime.

  Args:
    beta: Decay of the momentum, the paper's, which tries 0, 0.9 and 0.99; 0 with full batches is FedDANE with mu = 0.
  """
  base = mimelite(beta=beta)

  def gather(local: Local, examples: Examples, hparams: Hparams) -> Weights:
    del hparams
    return examples.gradient(local.anchor)

  def gathered(message: Weights, mean: Weights) -> Weights:
    momentum, _ = _split(message)
    return (*momentum, *mean)

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    momentum, c = _split(local.message)
    drift = tree.sub(batch.gradient(local.weights), batch.gradient(local.anchor))
    return tree.mix(hparams['beta'], momentum, tree.add(drift, c))

  def message(server: Server, report: Report, hparams: Hparams) -> Weights:
    del report
    momentum, c = _split(server.message)
    return (*tree.mix(hparams['beta'], momentum, c), *c)

  def init(weights: Weights) -> Server:
    zeros = tree.zeros_like(weights)
    return Server(weights, message=(*zeros, *zeros))

  return base._replace(
    name='mime',
    title='Mime',
    client=base.client._replace(gather=gather, gradient=gradient, finish=report_displacement),
    server=ServerRule(hparams={'beta': beta}, init=init, message=message, gathered=gathered),
  )


def _split(message: Weights) -> tuple[Weights, Weights]:
  """Returns m and c."""
  half = len(message) // 2
  return message[:half], message[half:]
