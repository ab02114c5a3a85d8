# SPDX-License-Identifier: Apache-2.0
"""The methods whose clients' steps another method changes: FedNAR clips them, FedExP makes more of their mean."""

from typing import Annotated

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.algorithms.scaffold import scaffold
from fedprox_tff.core.choices import OneOf


def proximal(*, mu: float = 0.0):
  return fedprox(mu=mu)


Backbone = Annotated[Algorithm, OneOf({'fedprox': proximal, 'scaffold': scaffold})]


def build_backbone(b, **k):
  return b
