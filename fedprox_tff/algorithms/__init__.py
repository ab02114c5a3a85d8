# SPDX-License-Identifier: Apache-2.0
"""Federated algorithms by their names on the command line.

An algorithm's keyword parameters are its flags.
"""

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.fedavg import fedavg
from fedprox_tff.algorithms.fedprox import fedprox

ALGORITHMS = {
  'fedavg': fedavg,
  'fedprox': fedprox,
}

__all__ = ['ALGORITHMS', 'Algorithm', 'fedavg', 'fedprox']
