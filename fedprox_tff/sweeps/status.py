# SPDX-License-Identifier: Apache-2.0
"""How far the cells of a sweep are, and what they share, without TensorFlow.

Whether a cell is done is read from its results alone, so that a run made by `fedprox_tff.run` counts as well.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from fedprox_tff.config.record import Config
from fedprox_tff.sweeps.claims import Claims, Record
from fedprox_tff.training import data, run_folder
from fedprox_tff.training.run_folder import results_folder, rounds_done


class Status(NamedTuple):
  """How far a cell is."""

  config: Config
  state: Literal['done', 'running', 'failed', 'to do', 'waiting']  # for the end of a search
  rounds: int
  reason: str = ''  # of a failure


def claims_folder(config: Config) -> pathlib.Path:
  """Returns where the claims of all cells with these results are."""
  return results_folder(config) / '.claims'


def look(configs: Iterable[Config], claims: Claims, records: Mapping[str, Record], done: set[Config]) -> list[Status]:
  """Returns how far the cells are.

  Args:
    configs: The cells.
    claims: Where they are claimed.
    records: What `claims.records()` returned.
    done: Cells that are known to be done; those found to be so are added.
  """
  statuses = []
  for config in configs:
    record = records.get(config.name)
    # With its last row perhaps, but not saved yet.
    if config not in done and (claims.is_held(record) or is_locked(config)):
      statuses.append(Status(config, 'running', _rounds(config)))
    elif config in done or seems_done(config):
      done.add(config)
      statuses.append(Status(config, 'done', config.rounds))
    elif claims.has_failed(record):
      statuses.append(Status(config, 'failed', _rounds(config), record.reason))
    else:
      statuses.append(Status(config, 'to do', _rounds(config)))
  return statuses


def is_locked(config: Config) -> bool:
  """Returns whether a process has the lock of a cell: an owner that was taken for dead, or a run by hand."""
  try:
    return run_folder.is_locked(config)
  except OSError:  # whoever works on the cell says what is wrong with it
    return False


def seems_done(config: Config) -> bool:
  """Returns whether a cell is done; one that cannot be read is not, so that somebody tries it and says why."""
  try:
    return run_folder.is_done(config)
  except OSError:
    return False


def _rounds(config: Config) -> int:
  """Returns how many of a cell's rounds are done; a damaged row may speak of more than there are."""
  return min(rounds_done(config), config.rounds)


def group(config: Config) -> tuple[Any, ...]:
  """Returns what cells have in common that share data and compiled computations; their order in time follows it."""
  structure = (config.model, config.algorithm.name, config.client_optimizer, config.server_optimizer)
  return (config.runtime, config.device, *data.key(config), *structure)


def arrange(configs: Iterable[Config]) -> list[Config]:
  """Returns the cells with those of a group next to each other, in the order in which groups and cells appear."""
  groups: dict[tuple[Any, ...], list[Config]] = {}
  for config in configs:
    groups.setdefault(group(config), []).append(config)
  return [config for members in groups.values() for config in members]


def part(configs: Sequence[Config], index: int, count: int) -> Sequence[Config]:
  """Returns the `index`-th of `count` parts, which differ by one cell in size at most."""
  return configs[len(configs) * index // count : len(configs) * (index + 1) // count]
