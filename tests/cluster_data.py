# SPDX-License-Identifier: Apache-2.0
"""What workers of a cluster load in tests; they import it by name."""

from fedprox_tff.cluster.loaded import Loaded
from tests.federations import load


def digits():
  """Returns the examples of all clients, as each node loads them."""
  return load('digits', data_seed=0).train.examples


def loaded():
  """Returns what a node should load."""
  return Loaded(digits(), 'the right one', 'digits')


def loaded_elsewhere():
  """Returns what a node loads that has other files."""
  return Loaded(digits(), 'another one', 'some other folder')
