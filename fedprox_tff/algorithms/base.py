# SPDX-License-Identifier: Apache-2.0
"""What a federated algorithm is: a record of pure functions over weights.

One round is the same for all (FedAvg; McMahan et al., AISTATS 2017, arXiv:1602.05629): clients start at the server's
weights w^t, take local steps along a direction within their budgets, and the server descends the weighted mean of
w^t - w_k. Cohorts, stragglers, budgets, batches, weights by n_k and metrics never depend on the algorithm; a file
beside this one says only where its method differs.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.tree import Weights


class Local(NamedTuple):
  """Where a client stands before a local step."""

  weights: Weights  # w: the local iterate
  anchor: Weights  # w^t: the weights received from the server, frozen for the round


Hparams = Mapping[str, Any]
Direction = Callable[[Weights, Local, Hparams], Weights]


def gradient_direction(gradient: Weights, local: Local, hparams: Hparams) -> Weights:
  """FedAvg's direction: the gradient of the batch, as it is."""
  del local, hparams
  return gradient


class Algorithm(NamedTuple):
  """A federated algorithm, as what it changes in FedAvg.

  Attributes:
    name: The name on the command line.
    hparams: Initial values of the hyperparameters that live in the process's state: `set_hparams` changes them between
      rounds without building anything anew.
    direction: `(gradient, local, hparams)` to what one local step descends. The client optimizer applies it.
    adapt: `losses` so far, f(w^0), f(w^1), ..., to the hyperparameters of the next round; None keeps them.
    straggler_policy: What the method's paper does with clients that run out of time: 'partial' keeps their partial
      work, 'drop' leaves them out of the round.
  """

  name: str
  hparams: Hparams = types.MappingProxyType({})
  direction: Direction = gradient_direction
  adapt: Callable[[Sequence[float]], Hparams] | None = None
  straggler_policy: str = 'drop'
