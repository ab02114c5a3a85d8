# SPDX-License-Identifier: Apache-2.0
"""SCAFFOLD (Karimireddy et al., "Stochastic Controlled Averaging for Federated Learning", ICML 2020, arXiv:1910.06378).

Control variates, c_i of each client and c of the server, all 0 at first, take the drift of heterogeneous clients out of
their steps:

    y <- y - lr (g_i(y) - c_i + c),                                           K steps from x,
    c_i+ = g_i(x)                                  (option 1: one more pass over the client's data)
         = c_i - c + (x - y) / (K lr)              (option 2: the mean of the K gradients; the paper's experiments),
    x <- x + server_lr mean_S(y - x),    c <- c + 1/N sum_S (c_i+ - c_i),

K the steps that the client really took and N the clients of the federation, so that c stays the mean of all c_i, if no
client is drawn twice in a round. So it does with --weighting=examples, which weighs the mean of y - x only. Option 2
needs plain SGD.
"""

from typing import Literal

from fedprox_tff.algorithms.base import (
  Algorithm,
  Batch,
  ClientRule,
  Examples,
  Hparams,
  Local,
  Needs,
  Policy,
  Report,
  Server,
  ServerRule,
)
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def scaffold(*, scaffold_option: Literal[1, 2] = 2) -> Algorithm:
  """Returns SCAFFOLD.

  Args:
    scaffold_option: How a client renews its control variate: 1, by its full gradient at the server's weights, or 2, by
      the gradients of its steps.
  """

  def gradient(local: Local, batch: Batch, hparams: Hparams) -> Weights:
    del hparams
    return tree.add(tree.sub(batch.gradient(local.weights), local.state), local.message)

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    update = tree.sub(local.anchor, local.weights)
    if scaffold_option == 1:
      new = examples.gradient(local.anchor)
    else:
      per_step = tree.divide(1.0, hparams['learning_rate'] * tree.as_float(local.num_steps))
      new = tree.add(tree.sub(local.state, local.message), tree.scale(per_step, update))
    return Report(update, sums=tree.sub(new, local.state), state=new)

  def message(server: Server, report: Report, hparams: Hparams) -> Weights:
    return tree.add(server.message, tree.scale(1 / hparams['num_clients'], report.sums))

  return Algorithm(
    name='scaffold',
    title='SCAFFOLD',
    client=ClientRule(init=lambda local: tree.zeros_like(local.weights), gradient=gradient, finish=finish),
    server=ServerRule(init=lambda weights: Server(weights, message=tree.zeros_like(weights)), message=message),
    needs=Needs(num_clients=True, plain_sgd=scaffold_option == 2),
    policy=Policy(weighting='uniform'),
  )
