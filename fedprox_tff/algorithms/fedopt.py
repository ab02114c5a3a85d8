# SPDX-License-Identifier: Apache-2.0
"""What FedAdagrad, FedAdam and FedYogi share (Reddi et al., "Adaptive Federated Optimization", arXiv:2003.00295).

FedAvg's clients; with D the mean of w^t - w_k, all elementwise,

    m <- beta_1 m + (1 - beta_1) D,    v <- accumulate(v, D^2),    w <- w - lr m / (sqrt(v) + tau),

m from 0 and v from tau^2, without bias correction. That is the paper's form. --fedopt_form=tff is that of TFF's
optimizers instead, with tau their epsilon: Adam's and Yogi's first steps are corrected for their bias, v starts at 0
(Adam), 1e-6 (Yogi) or 0.1 (Adagrad), and Adagrad takes the root of v + tau.
"""

from collections.abc import Callable
from typing import Any, Literal

from fedprox_tff.algorithms.base import Algorithm, Hparams, Report, Server, ServerRule
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights

Form = Literal['paper', 'tff']


def fedopt(
  name: str,
  title: str,
  *,
  accumulate: Callable[[Any, Any, Hparams], Any],
  precondition: Callable[[Any, Any, Hparams], Any],
  initial_v: Callable[[Hparams], Any],
  hparams: Hparams,
) -> Algorithm:
  """Returns one of the three.

  Args:
    name: The method's name.
    title: Its title.
    accumulate: (v, D^2, hparams) to the next v, of one tensor.
    precondition: (v, rounds, hparams) to what divides m, of one tensor; `rounds` counts this one.
    initial_v: hparams to the first v.
    hparams: The server's, at least `learning_rate` and `beta_1`.
  """

  def init(weights: Weights) -> Server:
    zeros = tree.zeros_like(weights)
    return Server(weights, kept=(zeros, zeros, 0.0))

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    m, v, rounds = server.kept
    v = tuple(tree.where(rounds < 1, initial_v(hparams), x) for x in v)
    m = tree.mix(hparams['beta_1'], m, report.update)
    v = tuple(accumulate(x, d * d, hparams) for x, d in zip(v, report.update, strict=True))
    step = tuple(x / precondition(y, rounds + 1, hparams) for x, y in zip(m, v, strict=True))
    weights = tree.sub(server.weights, tree.scale(hparams['learning_rate'], step))
    return server._replace(weights=weights, kept=(m, v, rounds + 1))

  return Algorithm(name=name, title=title, server=ServerRule(hparams=hparams, init=init, update=update))


def papers_root(v: Any, rounds: Any, hparams: Hparams) -> Any:
  """Returns sqrt(v) + tau."""
  del rounds
  return tree.sqrt(v) + hparams['tau']


def unbiased_root(v: Any, rounds: Any, hparams: Hparams) -> Any:
  """Returns (sqrt(v) + tau) over the correction of the biases of m and v, as TFF's Adam and Yogi have it."""
  correction = tree.sqrt(1 - hparams['beta_2'] ** rounds) / (1 - hparams['beta_1'] ** rounds)
  return (tree.sqrt(v) + hparams['tau']) / correction
