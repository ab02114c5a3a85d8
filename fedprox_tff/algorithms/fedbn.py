# SPDX-License-Identifier: Apache-2.0
"""FedBN (Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021,
arXiv:2102.07623).

FedAvg, but each client keeps its normalisation layers to itself: scale, shift, running mean and running variance, all
that belongs to a layer of that type. The server never gets them, and its own stay the initial ones. A client's own
model is the server's weights with the client's layers in them; what stands for a client that has none yet, the paper
leaves open: here the initial layers do.

Where clients do not predict the same, as when each has a set of molecules of its own with two classes of its own, the
layers of its task can stay with it too: what reads the inputs and what names the classes. FederatedScope's comparison
on graphs does so (Xie et al., PVLDB 2023, arXiv:2204.05011). Where all layers stay, nobody shares anything: each client
trains alone, on as many batches as in the other methods, which is what sharing has to be better than.
"""

from typing import Literal

from fedprox_tff.algorithms.base import Algorithm, Local, Policy
from fedprox_tff.algorithms.personal_layers import keeping

_WORDS = {'task': 'first and last layers stay on clients too', 'all': 'all layers stay on clients'}


def fedbn(*, personal_layers: Literal['normalisation', 'task', 'all'] = 'normalisation') -> Algorithm:
  """Returns FedBN; on a model without layers that stay on clients it is FedAvg with the plain mean.

  Args:
    personal_layers: What stays on clients: normalisation, the paper's; task, the first and the last layers too; or all,
      so that every client trains alone.
  """

  def own_layers(local: Local) -> tuple[bool, ...]:
    if personal_layers == 'normalisation':
      return local.normalisation
    if personal_layers == 'all':
      return (True,) * len(local.anchor)
    return tuple(a or b for a, b in zip(local.normalisation, local.task_layers, strict=True))

  return Algorithm(
    name='fedbn',
    title='FedBN',
    words={} if personal_layers == 'normalisation' else {'personal_layers': _WORDS[personal_layers]},
    client=keeping(own_layers),
    policy=Policy(weighting='uniform'),
  )
