# SPDX-License-Identifier: Apache-2.0
"""MOON (Li, He and Song, "Model-Contrastive Federated Learning", CVPR 2021, arXiv:2103.16257).

FedAvg, but a client also holds its features z of an example to those of the server's weights, z_glob, and away from
those of the weights with which it ended when it last took part, z_prev:

    F_k(y) + mu mean_i -log(e^(s_glob / tau) / (e^(s_glob / tau) + e^(s_prev / tau))),
    s_glob = cos(z, z_glob), s_prev = cos(z, z_prev); z_glob and z_prev are constants.

A client that has never taken part has w^t for its last weights, where the term is mu ln 2 and has no gradient: its
round is FedAvg's.

z is what the last layer gets to see. In `moon_cnn`, the authors' network, that is the output of a projection head, as
in the paper. In all other models it is the last hidden layer: the variant without a projection head that the authors'
code has as an option, and that PFLlib and FL-bench have.
"""

from typing import Annotated, Any

import numpy as np

from fedprox_tff.algorithms.base import Algorithm, Batch, ClientRule, Examples, Hparams, Local, Needs, Report, Start
from fedprox_tff.algorithms.fedprox import MU
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def moon(*, mu: float = 5.0, temperature: Annotated[float, (1e-3, None)] = 0.5) -> Algorithm:
  """Returns MOON.

  Args:
    mu: What the contrastive term counts; the authors' on CIFAR-10.
    temperature: tau, what the similarities are divided by; the authors'.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples, hparams
    last, has_taken_part = local.state
    previous = tuple(tree.where(has_taken_part > 0, w, anchor) for w, anchor in zip(last, local.anchor, strict=True))
    return Start(local.anchor, constants=previous)

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    def contrast(z: Any, z_glob: Any, z_prev: Any) -> Any:
      """-log(e^a / (e^a + e^b)) = log(1 + e^(b - a)), where b - a is one product: 0 where z_glob is z_prev."""
      away = tree.unit_rows(z_prev) - tree.unit_rows(z_glob)
      return tree.softplus(tree.dot_rows(tree.unit_rows(z), away) / hparams['temperature'])

    term = batch.gradient_of(contrast, local.weights, local.anchor, local.constants)
    return tree.add(batch.gradient(local.weights), tree.scale(hparams['mu'], term))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    return Report(tree.sub(local.anchor, local.weights), state=(local.weights, np.float32(1)))

  return Algorithm(
    name='moon',
    title='MOON',
    words={'mu': rf'$\mu$ = {mu:.7g}'},
    client=ClientRule(
      hparams={'mu': mu, 'temperature': temperature},
      init=lambda local: (local.weights, np.float32(0)),
      start=start,
      gradient=gradient,
      finish=finish,
    ),
    needs=Needs(features=True),
    columns=(MU,),
  )
