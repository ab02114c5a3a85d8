# SPDX-License-Identifier: Apache-2.0
"""FedAvg (McMahan et al., AISTATS 2017, arXiv:1602.05629).

Local SGD, w <- w - lr g_k(w), and the mean of the clients' weights with masses n_k. Under stragglers it is what Li et
al. (arXiv:1812.06127, section 5.2) compare with: clients that did not finish their epochs are dropped.
"""

from fedprox_tff.algorithms.base import Algorithm


def fedavg() -> Algorithm:
  """Returns FedAvg: the base record, unchanged."""
  return Algorithm(name='fedavg', title='FedAvg', line=':')
