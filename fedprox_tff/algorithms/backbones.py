# SPDX-License-Identifier: Apache-2.0
"""The methods whose clients' steps another method changes: FedNAR clips them, FedExP makes more of their mean."""

from typing import Annotated

from fedprox_tff.algorithms.base import Algorithm, Policy
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.algorithms.scaffold import scaffold
from fedprox_tff.core.choices import OneOf


def proximal(*, mu: float = 0.0) -> Algorithm:
  """Returns FedProx as a backbone, with FedAvg's policy for stragglers.

  Args:
    mu: Strength of the proximal term of the backbone fedprox; 0 makes it FedAvg.
  """
  return fedprox(mu=mu)._replace(policy=Policy())


Backbone = Annotated[Algorithm, OneOf({'fedprox': proximal, 'scaffold': scaffold})]
FEDPROX = proximal()
