# SPDX-License-Identifier: Apache-2.0
"""A run's federation: what selects it, how it is loaded, and what stands in for it."""

from collections.abc import Callable, Mapping
from typing import Any

from fedprox_tff.cluster.loaded import Loaded
from fedprox_tff.config.choice import flags_of
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import DATASETS
from fedprox_tff.datasets.base import FederatedDataset


def key(config: Config) -> tuple[Any, ...]:
  """Returns what selects the data: runs with the same key train on the same federation."""
  return config.dataset, config.partition


def load(config: Config) -> FederatedDataset:
  """Returns a run's federation.

  Raises:
    DataError: If it cannot be had.
  """
  return config.dataset.build().load(None if config.partition is None else config.partition.build())


def load_for_clients(record: Mapping[str, Any]) -> Loaded:
  """Returns the training examples of a run whose config has this record, loaded anew from this machine's files.

  Raises:
    DataError: If they cannot be had.
  """
  dataset = load(Config.from_record(record))
  return Loaded(dataset.train.examples, dataset.fingerprint, dataset.source)


def load_or_fall_back(given: Mapping[str, Any], say: Callable[[str], None]) -> tuple[Config, FederatedDataset]:
  """Returns the config that flags describe and its federation, or those of --fallback_dataset if that is needed.

  Args:
    given: Values by flag.
    say: Is told why the fallback is needed.

  Raises:
    UserError: If a flag's value is not allowed.
    DataError: If the data cannot be had, and no fallback was asked for.
  """
  config = Config.from_flags(given)
  try:
    return config, load(config)
  except DataError as error:
    fallback = config.fallback_dataset
    if not fallback or fallback == config.dataset.name:
      raise
    say(f'{error}\n\n*** --fallback_dataset: training on {fallback}, not on {config.dataset.name}. ***\n')
    unused = {p.name for p in flags_of(config.dataset.factory)} - {p.name for p in flags_of(DATASETS[fallback])}
    kept = {name: value for name, value in given.items() if name not in unused}
    return load_or_fall_back({**kept, 'dataset': fallback}, say)
