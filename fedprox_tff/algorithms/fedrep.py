# SPDX-License-Identifier: Apache-2.0
"""FedRep (Collins et al., "Exploiting Shared Representations for Personalized Federated Learning", ICML 2021,
arXiv:2102.07078).

Each client keeps its head phi_k, the last layer with its bias, for ever, and all share the body theta, which is all
else. In a round a client first trains its head alone, with the body frozen, and then the body alone, with the new head:

    tau_h epochs:  phi_k <- phi_k - eta grad_phi g_k,     the others:  theta_k <- theta_k - eta grad_theta g_k.

The server takes the mean of the theta_k, by n_k as in the authors' code; the paper's algorithm has the plain mean. The
phases are counted in local steps. A straggler whose steps end with its head keeps that head and counts for nothing in
the mean of the bodies: clients report whether they reached the body, and the server divides by the share of those.

The steps are of plain SGD: a step along zeros still moves what has momentum, and the authors' 0.5 would so leak from
one phase into the other. No gradient moves running statistics: they follow the batches of both phases, as in training
mode in the authors' code.
"""

from typing import Annotated

from fedprox_tff.algorithms.base import (
  Adaptation,
  Algorithm,
  Batch,
  Examples,
  Hparams,
  Local,
  Needs,
  Report,
  Server,
  ServerRule,
  Step,
)
from fedprox_tff.algorithms.personal_layers import keeping
from fedprox_tff.core import tree

_MOST_EPOCHS = 1000


def fedrep(
  *,
  head_epochs: Annotated[int, (0, _MOST_EPOCHS)] = 10,
  adaptation_epochs: Annotated[int, (0, _MOST_EPOCHS)] = 0,
  server_learning_rate: float = 1.0,
) -> Algorithm:
  """Returns FedRep; on a model that does not tell its head it is FedAvg.

  Args:
    head_epochs: tau_h, how many of the first epochs train the head; the authors' on CIFAR-10, where one more trains the
      body. With this suite's 20 epochs, ten do.
    adaptation_epochs: Epochs in which every client trains its head for each evaluation of clients' own models. The
      authors take 10, once, before their last test; here they would cost more than a round, so that the default is 0.
    server_learning_rate: lr of the server's step; 1 takes the mean of the bodies.
  """
  clients = keeping(lambda local: local.head)

  def head_steps(local: Local) -> int:
    return head_epochs * local.steps_per_epoch if any(local.head) else 0

  def step_of_head(local: Local, batch: Batch, hparams: Hparams) -> Step:
    del hparams
    gradient = batch.gradient(local.weights)
    zeros = tree.zeros_like(local.weights)
    return Step(tuple(g if own else zero for g, zero, own in zip(gradient, zeros, local.head, strict=True)))

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    of_head = step_of_head(local, batch, hparams).direction
    of_body = tree.sub(batch.gradient(local.weights), of_head)
    trains_head = local.num_steps < head_steps(local)
    return Step(tuple(tree.where(trains_head, h, b) for h, b in zip(of_head, of_body, strict=True)))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    report = clients.finish(local, examples, hparams)
    reached_body = tree.as_float(local.num_steps > head_steps(local))
    return report._replace(update=tree.scale(reached_body, report.update), extra=reached_body)

  def update(server: Server, report: Report, hparams: Hparams) -> Server:
    rate = tree.divide(hparams['learning_rate'], report.extra)
    return server._replace(weights=tree.sub(server.weights, tree.scale(rate, report.update)))

  return Algorithm(
    name='fedrep',
    title='FedRep',
    client=clients._replace(
      step=step,
      finish=finish,
      adapt=Adaptation(adaptation_epochs, step_of_head) if adaptation_epochs else None,
    ),
    server=ServerRule(hparams={'learning_rate': server_learning_rate}, update=update),
    needs=Needs(plain_sgd=True, epochs=head_epochs),
  )
