# SPDX-License-Identifier: Apache-2.0
"""The searches that go before the cells of a grid: what they run, what they choose, and what it took.

`search_section` says what a grid's file has of it, and `pattern_search` how a search goes on. Each curve has a search
of its own, a trial, at each point of [grid] but for seeds. The values that it chooses are those of the trial's cells.

The criterion of a run is the mean of train/loss, or of personal/loss, over the evaluated rounds among its last ten
rounds; round 0, which is before training, is none of them. If none was evaluated, the last one before counts. With
train/loss, no test data take part. Where clients have no models of their own, the global one serves them, so that
test/loss stands for personal/loss. A run whose loss is not finite there, or whose server took no step for ten rounds in
a row, has diverged: its criterion is infinite.

Nothing is remembered: the same runs lead to the same choices.
"""

import csv
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fedprox_tff.config.record import Config
from fedprox_tff.machine import files
from fedprox_tff.sweeps import pattern_search
from fedprox_tff.sweeps.pattern_search import End, Point
from fedprox_tff.sweeps.trials import Trial, Values
from fedprox_tff.training import columns, metrics_file, outcome

LAST = 10  # rounds that the criterion is a mean of


class Result(NamedTuple):
  """What a search takes from one of its runs."""

  criterion: float  # infinite if the run diverged
  local_steps: int  # of all clients together, over all rounds


class Tried(NamedTuple):
  """A point that a search tried."""

  values: Values
  criterion: float  # the mean over seeds; infinite if a run diverged
  seeds: int  # how many it was run with
  local_steps: int  # of these runs together


class Choice(NamedTuple):
  """The end of a trial."""

  trial: Trial
  values: Values
  ends: Mapping[str, End]  # by flag, if the value is the largest or smallest tried beside the others: why
  tried: Sequence[Tried]  # in the order in which the search came to them

  @property
  def cells(self) -> list[Config]:
    """The cells with the chosen values."""
    return self.trial.cells(self.values)

  @property
  def runs(self) -> int:
    """How many runs the search took."""
    return sum(tried.seeds for tried in self.tried)

  @property
  def local_steps(self) -> int:
    """How many local steps these took."""
    return sum(tried.local_steps for tried in self.tried)

  @property
  def criterion(self) -> float:
    """That of the chosen values."""
    return next(tried.criterion for tried in self.tried if tried.values == self.values)

  def __str__(self) -> str:
    ends = ''.join(f' (end of {flag}: {why})' for flag, why in self.ends.items())
    loss = f'{self.criterion:.4g}' if math.isfinite(self.criterion) else 'diverged'
    took = f'{len(self.tried)} points, {self.runs} runs, {self.local_steps:,} local steps'
    return f'{self.trial}: {in_words(self.values)}{ends}, {self.trial.section.criterion} {loss} ({took})'


class Progress(NamedTuple):
  """How far a trial is."""

  runs: Sequence[Config]  # all that it has asked for so far
  choice: Choice | None  # None until it has ended


class Results:
  """What searches take from their runs, each of which is read once."""

  def __init__(self, find: Callable[[Config], pathlib.Path | None]):
    """Takes runs from folders; `find` returns that of a run that is done, else None."""
    self._find = find
    self._known: dict[tuple[Config, str], Result] = {}

  def of(self, config: Config, criterion: str) -> Result | None:
    """Returns the result of a run; None if it is not done."""
    key = (config, criterion)
    if key not in self._known:
      folder = self._find(config)
      if folder is None:
        return None
      self._known[key] = measure(config, folder, criterion)
    return self._known[key]


def look(trial: Trial, results: Results) -> Progress:
  """Returns how far a trial is, by those of its runs that are done."""
  section = trial.section

  def config(point: Point, seed: int) -> Config:
    return trial.run_of(trial.values(point), section.seeds[seed])

  def result(point: Point, seed: int) -> Result | None:
    return results.of(config(point, seed), section.criterion)

  def criterion(point: Point, seed: int) -> float | None:
    found = result(point, seed)
    return None if found is None else found.criterion

  walk = pattern_search.walk(
    [len(ladder.rungs) for ladder in section.ladders],
    tuple(ladder.start for ladder in section.ladders),
    criterion,
    most=section.most,
    within=section.within,
    num_seeds=len(section.seeds),
  )
  runs = [config(*run) for run in walk.runs]
  if walk.best is None:
    return Progress(runs, None)
  tried = []
  for point, mean in walk.criteria.items():
    steps = [result(*run).local_steps for run in walk.runs if run[0] == point]
    tried.append(Tried(trial.values(point), mean, len(steps), sum(steps)))
  ends = {section.ladders[i].flag: why for i, why in walk.ends.items()}
  return Progress(runs, Choice(trial, trial.values(walk.best), ends, tried))


def measure(config: Config, folder: pathlib.Path, criterion: str) -> Result:
  """Returns what a search takes from a run, of its rounds up to the config's.

  Args:
    config: The run.
    folder: Its folder.
    criterion: The column that is to be small.
  """
  rows = [row for row in metrics_file.read(folder).rows if row[columns.ROUND_NUM.name] <= config.rounds]
  steps = [row.get(columns.COHORT_STEPS.name, math.nan) for row in rows]
  local_steps = int(sum(number for number in steps if math.isfinite(number)))
  if outcome.trouble(rows):  # a server that never moved has a finite loss, too
    return Result(math.inf, local_steps)
  if all(math.isnan(row.get(criterion, math.nan)) for row in rows):
    criterion = columns.SERVED.get(criterion, criterion)
  evaluated = [row for row in rows if outcome.is_evaluated(row)]
  recent = [row for row in evaluated if row[columns.ROUND_NUM.name] > max(0, config.rounds - LAST)]
  losses = [row[criterion] for row in recent or evaluated[-1:]]
  mean = sum(losses) / len(losses)
  return Result(mean if math.isfinite(mean) else math.inf, local_steps)


def write(path: pathlib.Path, choices: Sequence[Choice]) -> None:
  """Writes the choices of a grid as CSV, a row for each point that was tried, at once or not at all."""
  points = list(dict.fromkeys(key for choice in choices for key in choice.trial.point))
  criterion = choices[0].trial.section.criterion
  with files.replacing(path) as unfinished, unfinished.open('w', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(['curve', *points, 'values', criterion, 'seeds', 'chosen', 'end', 'local_steps'])
    for choice in choices:
      point = [choice.trial.point.get(key) for key in points]
      for tried in choice.tried:
        is_chosen = tried.values == choice.values
        end = ', '.join(f'{flag}: {why}' for flag, why in choice.ends.items()) if is_chosen else ''
        row = [in_words(tried.values), tried.criterion, tried.seeds, int(is_chosen), end, tried.local_steps]
        writer.writerow([choice.trial.curve, *point, *row])


def in_words(values: Values) -> str:
  """Returns values of flags in one line."""
  return ', '.join(f'{flag}={value}' for flag, value in values.items())
