# SPDX-License-Identifier: Apache-2.0
"""The search for one flag's value, such as a learning rate, that goes before the cells of a grid.

    [search]
    seed = 100                          of all runs of the search; no cell has it
    rounds = 50                         of the same; without it, as many as the cells'
    learning_rate = [0.01, 0.03, 0.1]   the flag and the values to try

A [[curve]] may search for another flag, or among other values: search = { server_learning_rate = [0.03, 0.1, 0.3] }.
All curves try equally many: that is the budget. Each curve has a trial of its own at each point of [grid] but for
seeds. The value whose run has the smallest training loss, mean of its last ten evaluated rounds, is that of the
trial's cells; no test data take part. A run whose loss is not finite there, or whose server took no step for ten rounds
in a row, has diverged, and loses.
"""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.config.record import Config
from fedprox_tff.config.settings import SETTINGS
from fedprox_tff.core.errors import UserError
from fedprox_tff.machine import files
from fedprox_tff.sweeps import grid_checks
from fedprox_tff.training import columns, metrics_file, outcome

LAST = 10  # evaluated rounds that the criterion is a mean of


@dataclasses.dataclass(frozen=True)
class Trial:
  """The search of one curve at one point of a grid, and the cells that have its result."""

  curve: str
  point: Mapping[str, Any]  # what the grid's lists, but for seeds, are here
  flag: str
  values: Sequence[Any]
  candidates: Sequence[Config]  # a run for each value
  cell_of: Callable[[Any, int], Config]  # (value, seed)
  seeds: Sequence[int]

  def cells(self, value: Any) -> list[Config]:
    """Returns the cells, one for each seed, with a value of the flag."""
    return [self.cell_of(value, seed) for seed in self.seeds]

  def __str__(self) -> str:
    return ', '.join(filter(None, (self.curve, *(f'{key}={value}' for key, value in self.point.items()))))


class Choice(NamedTuple):
  """The end of a trial."""

  trial: Trial
  value: Any
  losses: Sequence[float]  # the criterion, by value; infinite where the run diverged

  @property
  def cells(self) -> list[Config]:
    """The cells with the chosen value."""
    return self.trial.cells(self.value)

  @property
  def is_at_the_end(self) -> bool:
    """Whether the value is the largest or smallest that was tried, so that a better one may lie beyond."""
    return self.value in (min(self.trial.values), max(self.trial.values))

  def __str__(self) -> str:
    others = [
      f'{value}: {_loss(loss)}'
      for value, loss in zip(self.trial.values, self.losses, strict=True)
      if value != self.value
    ]
    loss = self.losses[self.trial.values.index(self.value)]
    return f'{self.trial}: {self.trial.flag}={self.value}, training loss {_loss(loss)} ({", ".join(others)})'


def trials(
  content: Mapping[str, Any],
  points: Iterable[Mapping[str, Any]],
  curve: tuple[str, Mapping[str, Any]],
  found: grid_checks.Search,
  *,
  overrides: Mapping[str, Any],
  config: Callable[..., Config],
) -> Iterator[Trial]:
  """Yields the trial of a curve at each point of a grid.

  Args:
    content: The grid's file.
    points: The product of its lists but for seeds.
    curve: Name and flags.
    found: The curve's search.
    overrides: Flags that replace what the file says. A seed is that of the cells, not of the search, and the search
      never has more rounds than its own.
    config: `(flags, overrides, curve)` to a cell's config.

  Raises:
    UserError: If a cell has the seed of the search, or an override the flag that is searched for.
  """
  name, flags = curve
  if found.flag in overrides:
    raise UserError(f'--{found.flag}: the search of this grid finds it; it cannot be set.')
  base = {**content.get('base', {}), **flags}
  seeds = content.get('grid', {}).get('seed', [base.get('seed', SETTINGS['seed'].default)])
  seeds = list(dict.fromkeys(int(seed) for seed in ([overrides['seed']] if 'seed' in overrides else seeds)))
  if found.fixed['seed'] in seeds:
    raise UserError(f'[search] seed = {found.fixed["seed"]}: cells have it too; a seed that none has is needed.')
  lasting = {key: value for key, value in overrides.items() if key != 'seed'}
  brief = lasting
  if 'rounds' in lasting and 'rounds' in found.fixed:
    brief = lasting | {'rounds': min(int(lasting['rounds']), found.fixed['rounds'])}
  for point in points:

    def cell_of(value: Any, seed: int, point: Mapping[str, Any] = point) -> Config:
      return config({**base, **point, found.flag: value, 'seed': seed}, lasting, name)

    candidates = [config({**base, **point, found.flag: value, **found.fixed}, brief, name) for value in found.values]
    yield Trial(name, point, found.flag, found.values, candidates, cell_of, seeds)


def choose(trial: Trial, find: Callable[[Config], pathlib.Path | None]) -> Choice | None:
  """Returns the end of a trial: the first of the values with the smallest criterion.

  Args:
    trial: The trial.
    find: Returns the folder of a run that is done, else None.

  Returns:
    The choice; None until all runs of the search are done.
  """
  folders = [find(config) for config in trial.candidates]
  if None in folders:
    return None
  losses = [criterion(config, folder) for config, folder in zip(trial.candidates, folders, strict=True)]
  return Choice(trial, trial.values[losses.index(min(losses))], losses)


def criterion(config: Config, folder: pathlib.Path) -> float:
  """Returns the mean training loss of a run's last ten evaluated rounds, up to the config's; inf if it diverged."""
  rows = [row for row in metrics_file.read(folder).rows if row[columns.ROUND_NUM.name] <= config.rounds]
  if outcome.trouble(rows):  # a server that never moved has a finite loss, too
    return math.inf
  losses = [row[columns.TRAIN_LOSS.name] for row in rows if outcome.is_evaluated(row)][-LAST:]
  mean = sum(losses) / len(losses)
  return mean if math.isfinite(mean) else math.inf


def write(path: pathlib.Path, choices: Sequence[Choice]) -> None:
  """Writes the choices of a grid as CSV, a row for each value that was tried, at once or not at all."""
  points = list(dict.fromkeys(key for choice in choices for key in choice.trial.point))
  with files.replacing(path) as unfinished, unfinished.open('w', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(['curve', *points, 'flag', 'value', columns.TRAIN_LOSS.name, 'chosen'])
    for choice in choices:
      trial = choice.trial
      for value, loss in zip(trial.values, choice.losses, strict=True):
        point = [trial.point.get(key) for key in points]
        writer.writerow([trial.curve, *point, trial.flag, value, loss, int(value == choice.value)])


def _loss(loss: float) -> str:
  return f'{loss:.4g}' if math.isfinite(loss) else 'diverged'
