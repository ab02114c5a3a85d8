# SPDX-License-Identifier: Apache-2.0
"""FedAvg with fine-tuning: FedAvg (McMahan et al., AISTATS 2017, arXiv:1602.05629), whose clients adapt the model.

Training is FedAvg's. When it is evaluated, each client goes on from w^t by some epochs of local steps on its training
examples, whether it has ever taken part or not, and is served by where that ends. It is what personal methods have to
be better than; papers call it FedAvg + FT, or local adaptation.
"""

from typing import Annotated

from fedprox_tff.algorithms.base import Adaptation, Algorithm, Batch, Hparams, Local, Step, gradient_of_batch
from fedprox_tff.algorithms.fedavg import fedavg


def fedavg_ft(*, adaptation_epochs: Annotated[int, (0, 1000)] = 1) -> Algorithm:
  """Returns FedAvg with fine-tuning.

  Args:
    adaptation_epochs: Epochs that a client trains the model when it is evaluated; ours.
  """

  def step(local: Local, batch: Batch, hparams: Hparams) -> Step:
    return Step(gradient_of_batch(local, batch, hparams))

  base = fedavg()
  return base._replace(
    name='fedavg_ft',
    title='FedAvg + fine-tuning',
    line='-',
    client=base.client._replace(adapt=Adaptation(epochs=adaptation_epochs, step=step)),
  )
