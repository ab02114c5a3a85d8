# SPDX-License-Identifier: Apache-2.0
"""The paper's rule for mu (Li et al., arXiv:1812.06127, section 5.3.2 and Figures 3 and 11).

mu grows by 0.1 whenever the global training loss increases, and shrinks by 0.1 when it has decreased for five rounds in
a row. What the paper leaves open is settled so: one comparison a round; mu stays at least 0; each change of mu starts
the count of decreases anew, and so does a loss that stays the same; a loss that is not a number counts as an increase.
"""

import itertools
from collections.abc import Sequence

ADAPTIVE = 'adaptive'  # the word that stands for this rule where a value of mu could stand
STEP = 0.1
PATIENCE = 5  # decreases in a row


def adaptive_mu(losses: Sequence[float], initial_mu: float) -> float:
  """Returns mu for the next round.

  Args:
    losses: The global training loss f(w^0), f(w^1), ... so far.
    initial_mu: mu of round 1. The paper starts adversely: 1 for the IID set, 0 for the others.
  """
  mu, decreases = initial_mu, 0
  for before, after in itertools.pairwise(losses):
    if after < before:
      decreases += 1
    elif after == before:
      decreases = 0
    else:
      mu, decreases = round(mu + STEP, 6), 0
    if decreases == PATIENCE:
      mu, decreases = max(0.0, round(mu - STEP, 6)), 0
  return mu
