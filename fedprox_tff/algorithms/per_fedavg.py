# SPDX-License-Identifier: Apache-2.0
"""Per-FedAvg (Fallah, Mokhtari and Ozdaglar, "Personalized Federated Learning: A Meta-Learning Approach", NeurIPS 2020,
arXiv:2002.07948).

MAML on clients: it minimises mean_k F_k(w - alpha grad F_k(w)), the loss after one step of the client's own. A local
step takes two batches, b and the next one, b':

    v = g_k(y - alpha g_k(y; b); b'),
    y <- y - eta v                                            (first-order form, FO)
    y <- y - eta (v - alpha H_k(y; b) v)                      (Hessian-free form, HF)
         H_k(y; b) v = (g_k(y + delta v; b) - g_k(y - delta v; b)) / (2 delta).

A client's own model is w^t - alpha g_k(w^t; b), of one batch of its training examples, when it is evaluated. The paper
draws a third batch for H_k; with b, HF is the gradient of the loss on b' after the step on b. The mean is by n_k, as in
pFedMe's code, whose PerAvg is the FO form.
"""

from typing import Literal

from fedprox_tff.algorithms.base import Adaptation, Algorithm, Batch, ClientRule, Hparams, Local, Needs, Step
from fedprox_tff.core import tree

_DELTA = 2**-7  # short, so that the curvature is that at y, and yet more than what float32 rounds


def per_fedavg(*, personal_learning_rate: float = 0.03, per_fedavg_form: Literal['fo', 'hf'] = 'fo') -> Algorithm:
  """Returns Per-FedAvg.

  Args:
    personal_learning_rate: alpha, the length of the step of a client's own; 0 is FedAvg. What pFedMe's authors found
      best for it; their code's default is 0.005.
    per_fedavg_form: Whether second derivatives are left out (fo) or found from two more gradients (hf).
  """

  def own_step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    return Step(tree.scale(hparams['personal_learning_rate'], batch.gradient(local.weights)))

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    y = local.weights
    v = batch.other.gradient(tree.sub(y, own_step(local, batch, hparams).direction))
    if per_fedavg_form == 'fo':
      return Step(v)
    ahead, behind = (batch.gradient(tree.add(y, tree.scale(delta, v))) for delta in (_DELTA, -_DELTA))
    return Step(tree.sub(v, tree.scale(hparams['personal_learning_rate'] / (2 * _DELTA), tree.sub(ahead, behind))))

  return Algorithm(
    name='per_fedavg',
    title='Per-FedAvg',
    client=ClientRule(
      hparams={'personal_learning_rate': personal_learning_rate},
      step=step,
      adapt=Adaptation(epochs=1, num_steps=1, step=own_step, own_step_size=True),
    ),
    needs=Needs(other_batch=True),
  )
