# SPDX-License-Identifier: Apache-2.0
"""The cells of a sweep without TensorFlow: what is done of them, what they share, and their data.

Whether a cell is done is read from its results alone, so that a run made by `fedprox_tff.run` counts as well.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from fedprox_tff.config.record import Config
from fedprox_tff.sweeps.claims import Claims, Record
from fedprox_tff.training import data

_TAIL_BYTES = 1 << 16  # holds many rows


class Status(NamedTuple):
  """How far a cell is."""

  config: Config
  state: Literal['done', 'running', 'failed', 'to do', 'waiting']  # for the end of a search
  rounds: int
  reason: str = ''  # of a failure


def folder(config: Config) -> pathlib.Path:
  """Returns where a cell's results are."""
  return pathlib.Path(config.results_dir) / config.name


def log_path(config: Config) -> pathlib.Path:
  """Returns the file with what a cell said."""
  return folder(config) / 'log.txt'


def claims_folder(config: Config) -> pathlib.Path:
  """Returns where the claims of all cells with these results are."""
  return pathlib.Path(config.results_dir) / '.claims'


def rounds_done(config: Config) -> int:
  """Returns how many rounds a cell has done."""
  return rounds_in(folder(config))


def rounds_in(path: pathlib.Path) -> int:
  """Returns the round of a run's last whole row, 0 if there is none; a process may be writing right now."""
  try:
    with (path / 'metrics.csv').open('rb') as file:
      file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
      tail = file.read()
    return int(tail[: tail.rfind(b'\n')].rpartition(b'\n')[2].partition(b',')[0])
  except (OSError, ValueError):  # ValueError: the header alone
    return 0


def is_done(config: Config) -> bool:
  """Returns whether the folder holds all rounds of this very config."""
  if rounds_done(config) < config.rounds:
    return False
  try:
    return not config.differences(json.loads((folder(config) / 'config.json').read_text())['config'])
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return False


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
    if config not in done and claims.is_held(record):  # with its last row perhaps, but not saved yet
      statuses.append(Status(config, 'running', min(rounds_done(config), config.rounds)))
    elif config in done or is_done(config):
      done.add(config)
      statuses.append(Status(config, 'done', config.rounds))
    elif claims.has_failed(record):
      statuses.append(Status(config, 'failed', rounds_done(config), record.reason))
    else:
      statuses.append(Status(config, 'to do', rounds_done(config)))
  return statuses


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
