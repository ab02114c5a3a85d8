# SPDX-License-Identifier: Apache-2.0
"""Federations for tests, chosen and loaded as a run chooses and loads them."""

from typing import Any

from fedprox_tff.config.record import Config
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.training import data


def load(dataset: str, **flags: Any) -> FederatedDataset:
  """Returns the federation of a run with these flags."""
  return data.load(Config.from_flags({'dataset': dataset, 'clients_per_round': 1, **flags}))
