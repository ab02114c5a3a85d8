# SPDX-License-Identifier: Apache-2.0
"""Federated algorithms by their names on the command line.

An algorithm's keyword parameters are its flags.
"""

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.algorithms.delta_sgd import delta_sgd
from fedprox_tff.algorithms.dualprox import dualprox
from fedprox_tff.algorithms.fedadagrad import fedadagrad
from fedprox_tff.algorithms.fedadam import fedadam
from fedprox_tff.algorithms.fedavg import fedavg
from fedprox_tff.algorithms.fedavg_m import fedavg_m
from fedprox_tff.algorithms.fedavgm import fedavgm
from fedprox_tff.algorithms.fedexp import fedexp
from fedprox_tff.algorithms.fedgm import fedgm
from fedprox_tff.algorithms.fednar import fednar
from fedprox_tff.algorithms.fedprox import fedprox
from fedprox_tff.algorithms.fedyogi import fedyogi

ALGORITHMS = {
  'fedavg': fedavg,
  'fedprox': fedprox,
  'fedavgm': fedavgm,
  'fedadagrad': fedadagrad,
  'fedadam': fedadam,
  'fedyogi': fedyogi,
  'fedgm': fedgm,
  'fedexp': fedexp,
  'fednar': fednar,
  'dualprox': dualprox,
  'delta_sgd': delta_sgd,
  'fedavg_m': fedavg_m,
}

__all__ = [
  'ALGORITHMS',
  'Algorithm',
  'delta_sgd',
  'dualprox',
  'fedadagrad',
  'fedadam',
  'fedavg',
  'fedavg_m',
  'fedavgm',
  'fedexp',
  'fedgm',
  'fednar',
  'fedprox',
  'fedyogi',
]
