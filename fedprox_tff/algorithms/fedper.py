# SPDX-License-Identifier: Apache-2.0
"""FedPer (Arivazhagan et al., "Federated Learning with Personalization Layers", 2019, arXiv:1912.00818).

FedAvg, but each client keeps its head, the last layer with its bias, for ever. It trains the head and the body, which
is all else, together. Only the body goes to the server and comes back. Normalisation layers belong to the body.

The paper's algorithm has the plain mean of the bodies. The mean by n_k is that of the one public code that we know, by
the authors of FedRep, who compare with FedPer. Where the last layer is the whole model, as in logistic regression,
nothing is shared: each client trains alone, in the rounds in which it takes part.
"""

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.personal_layers import keeping


def fedper() -> Algorithm:
  """Returns FedPer; on a model that does not tell its head it is FedAvg."""
  return Algorithm('fedper', 'FedPer', client=keeping(lambda local: local.head))
