# SPDX-License-Identifier: Apache-2.0
"""FedProx (Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, arXiv:1812.06127, Algorithm 2).

Client k minimises h_k(w; w^t) = F_k(w) + mu/2 ||w - w^t||^2 inexactly, within its own budget; the gradient of the
proximal term is mu (w - w^t), so one local step descends

    g_k(w) + mu (w - w^t).

The term pulls a client back to the server's weights. `tff.learning.algorithms.build_weighted_fed_prox` adds
mu (w^t - w), the opposite sign, in all its releases, and so pushes clients away: tests/federated/test_fedprox.py shows
both.

mu may follow the paper's rule (section 5.3.2 and Figures 3 and 11): it grows by 0.1 whenever the global training loss
increases, and shrinks by 0.1 when the loss has decreased for five rounds in a row. The paper leaves some of it open.
Here there is one comparison a round; mu stays at least 0; each change of mu starts the count of decreases anew, and so
does a loss that stays the same; a loss that is not a number counts as an increase.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from fedprox_tff.algorithms.base import Algorithm, Batch, ClientRule, Hparams, Local, Policy, Schedule
from fedprox_tff.core import tree
from fedprox_tff.core.choices import OneOf
from fedprox_tff.core.columns import Column
from fedprox_tff.core.tree import Weights

MU = Column(
  'mu',
  'strength of the proximal term in the round, and of the contrastive one with moon; 0 for methods without either',
  label=r'$\mu$',
)

_STEP = 0.1
_PATIENCE = 5  # decreases in a row


class AdaptiveMu(NamedTuple):
  """The paper's rule in the place of a number."""

  name: str
  initial_mu: float

  def after(self, losses: Sequence[float]) -> float:
    """Returns mu for the next round.

    Args:
      losses: The global training loss f(w^0), f(w^1), ... so far.
    """
    mu, decreases = self.initial_mu, 0
    for before, after in itertools.pairwise(losses):
      if after < before:
        decreases += 1
      elif after == before:
        decreases = 0
      else:
        mu, decreases = round(mu + _STEP, 6), 0
      if decreases == _PATIENCE:
        mu, decreases = max(0.0, round(mu - _STEP, 6)), 0
    return mu


def adaptive(*, initial_mu: float = 0.0) -> AdaptiveMu:
  """Returns the paper's rule for mu.

  Args:
    initial_mu: The mu of round 1, where mu is adaptive. The paper starts adversely: 1 for the IID set, 0 for others.
  """
  return AdaptiveMu('adaptive', initial_mu)


def fedprox(*, mu: Annotated[float | AdaptiveMu, OneOf({'adaptive': adaptive})] = 1.0) -> Algorithm:
  """Returns FedProx.

  Args:
    mu: Strength of the proximal term, mu >= 0 of the paper's equation 2. 0 is FedAvg with partial work; the paper's
      best values are 1 (synthetic, MNIST, FEMNIST), 0.01 (Sent140) and 0.001 (Shakespeare). `adaptive()` follows the
      paper's rule.
  """

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    proximal_gradient = tree.scale(hparams['mu'], tree.sub(local.weights, local.anchor))
    return tree.add(batch.gradient(local.weights), proximal_gradient)

  is_adaptive = isinstance(mu, AdaptiveMu)
  return Algorithm(
    name='fedprox',
    title='FedProx',
    words=_words(mu),
    line='-.' if is_adaptive else '--' if mu == 0 else '-',
    client=ClientRule(hparams={'mu': mu.initial_mu if is_adaptive else mu}, gradient=gradient),
    schedule=Schedule(adapt=(lambda losses: {'mu': mu.after(losses)}) if is_adaptive else None),
    policy=Policy(stragglers='partial'),
    columns=(MU,),
  )


def _words(mu: float | AdaptiveMu) -> Mapping[str, str]:
  """Returns what a legend says of mu, with numbers as short as possible."""
  if isinstance(mu, AdaptiveMu):
    return {'mu': r'adaptive $\mu$', 'initial_mu': rf'initial $\mu$ = {mu.initial_mu:.7g}'}
  return {'mu': rf'$\mu$ = {mu:.7g}'}
