# SPDX-License-Identifier: Apache-2.0
"""Delta-SGD (Kim et al., "Adaptive Federated Learning with Auto-Tuned Clients", ICLR 2024, arXiv:2306.11201).

Clients find their step sizes: y_1 = y_0 - eta_0 g(y_0) and then, both gradients on the same batch,

    eta_k = min(gamma ||y_k - y_{k-1}|| / (2 ||g(y_k) - g(y_{k-1})||), sqrt(1 + delta theta_{k-1}) eta_{k-1}),
    theta_k = eta_k / eta_{k-1},    y_{k+1} = y_k - eta_k g(y_k),

norms over all tensors together, theta_0 = 1, all of it anew in each round. Where either difference is zero the first
branch is left out. The authors' code also lets eta grow before the first step, adds 1e-8 to it, and has gamma / 2 = 1
("damping") and delta = 0.02 or 0.1; the defaults here are those of the paper's experiments.
"""

from fedprox_tff.algorithms.base import (
  Algorithm,
  Batch,
  ClientRule,
  Examples,
  Hparams,
  Local,
  Needs,
  Policy,
  Start,
  Step,
)
from fedprox_tff.core import tree


def delta_sgd(*, gamma: float = 2.0, delta: float = 0.1, initial_learning_rate: float = 0.2) -> Algorithm:
  """Returns Delta-SGD.

  Args:
    gamma: Scale of the local smoothness in the step size.
    delta: How fast the step size may grow.
    initial_learning_rate: The first step size of a round, eta_0.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples
    return Start(local.anchor, scratch=(local.anchor, hparams['initial_learning_rate'], 1.0))

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    previous, eta, theta = local.scratch
    gradient = batch.gradient(local.weights)
    moved = tree.norm(tree.sub(local.weights, previous))
    turned = tree.norm(tree.sub(gradient, batch.gradient(previous)))
    growth = tree.sqrt(1 + hparams['delta'] * theta) * eta
    bound = tree.where(moved * turned > 0, hparams['gamma'] * tree.divide(moved, 2 * turned), growth)
    first = local.num_steps < 1
    new_eta = tree.where(first, eta, tree.minimum(bound, growth))
    new_theta = tree.where(first, theta, tree.divide(new_eta, eta))
    return Step(tree.scale(new_eta, gradient), scratch=(local.weights, new_eta, new_theta))

  return Algorithm(
    name='delta_sgd',
    title='Delta-SGD',
    client=ClientRule(
      hparams={'gamma': gamma, 'delta': delta, 'initial_learning_rate': initial_learning_rate}, start=start, step=step
    ),
    needs=Needs(own_step_size=True),
    policy=Policy(weighting='uniform'),
  )
