# SPDX-License-Identifier: Apache-2.0
"""The cells of a sweep, as far as they are known: what a search asks for next becomes cells when its runs are done.

Nothing is remembered from one sweep to the next: the same runs lead to the same choices.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from fedprox_tff.config.record import Config
from fedprox_tff.sweeps import grids, search, status
from fedprox_tff.sweeps.claims import Claims, Record
from fedprox_tff.sweeps.grids import Grid
from fedprox_tff.sweeps.search import Choice, Progress, Results
from fedprox_tff.sweeps.status import Status
from fedprox_tff.sweeps.trials import Trial
from fedprox_tff.training import run_folder


class Plan:
  """The cells of some grids, or of a part of them.

  Attributes:
    configs: The cells that can be run, those of searches included; more are added where a search goes on or ends.
    choices: What the searches that have ended chose.
  """

  def __init__(self, chosen: Sequence[Grid], part: tuple[int, int] = (0, 1)):
    """Plans a sweep.

    Args:
      chosen: The grids.
      part: Index and count of parts, if it is one of several. A trial and its cells are in one part.

    Raises:
      UserError: If two different runs would share a folder.
    """
    self._grids = chosen
    plain = [cell.config for grid in chosen for cell in grid.cells]
    self._trials = [trial for grid in chosen for trial in grid.trials]
    heads = status.arrange(grids.merge([*plain, *(trial.start for trial in self._trials)]))
    mine = {config.name for config in status.part(heads, *part)}
    self._plain = [config for config in plain if config.name in mine]
    self._trials = [trial for trial in self._trials if trial.start.name in mine]
    self._done: set[Config] = set()
    self._names: frozenset[str] = frozenset()  # of the cells that are done
    self._num_seen = 0  # how many were when searches were looked at last
    self._results = Results(self._folder_if_done)
    self._incomplete: dict[int, list[Config]] = {}  # by trial's id; checking a config takes a while
    self._take([search.look(trial, Results(lambda _: None)) for trial in self._trials])

  @property
  def choices(self) -> list[Choice]:
    """What the searches that have ended chose."""
    return [progress.choice for progress in self._progress if progress.choice]

  def look(self, claims: Claims, records: Mapping[str, Record]) -> list[Status]:
    """Returns how far all cells are, and lets searches go on where their runs are done; see `status.look`."""
    statuses = status.look(self.configs, claims, records, self._done)
    if self._go_on():
      statuses = status.look(self.configs, claims, records, self._done)
    failed = {status.config.name for status in statuses if status.state == 'failed'}
    open_trials = [pair for pair in zip(self._trials, self._progress, strict=True) if not pair[1].choice]
    return statuses + [status for pair in open_trials for status in self._waiting(*pair, failed)]

  def write_choices(self) -> list[pathlib.Path]:
    """Writes what the searches of whole grids chose so far, whoever ran them, and returns the files."""
    paths = []
    for grid in self._grids:
      ended = [search.look(trial, self._results).choice for trial in grid.trials]
      ended = [choice for choice in ended if choice]
      if ended:
        paths.append(run_folder.results_folder(ended[0].trial.start) / f'{grid.name}-choices.csv')
        search.write(paths[-1], ended)
    return paths

  def _waiting(self, trial: Trial, progress: Progress, failed: set[str]) -> list[Status]:
    """Returns the cells whose config a search has yet to complete."""
    missing = [config.name for config in progress.runs if config.name in failed]
    state, reason = ('failed', f'the search needs {missing[0]}') if missing else ('waiting', '')
    if id(trial) not in self._incomplete:
      flags = ' and '.join(trial.flags)
      self._incomplete[id(trial)] = [
        dataclasses.replace(config, name=f'{trial}, seed={config.seed}: for its {flags}')
        for config in trial.cells(trial.start_values)
      ]
    return [Status(config, state, 0, reason) for config in self._incomplete[id(trial)]]

  def _go_on(self) -> bool:
    """Looks what searches ask for and choose now; returns whether the cells have become more."""
    if len(self._done) == self._num_seen:
      return False
    self._names = frozenset(config.name for config in self._done)
    before = sum(len(progress.runs) for progress in self._progress), len(self.choices)
    pairs = zip(self._trials, self._progress, strict=True)
    progress = [known if known.choice else search.look(trial, self._results) for trial, known in pairs]
    after = sum(len(each.runs) for each in progress), sum(bool(each.choice) for each in progress)
    if after != before:
      self._take(progress)
    self._num_seen = len(self._names)  # last: an error to read is tried again
    return after != before

  def _take(self, progress: list[Progress]) -> None:
    self._progress = progress
    asked = [config for each in progress for config in each.runs]
    chosen = [config for choice in self.choices for config in choice.cells]
    self.configs = status.arrange(grids.merge([*self._plain, *asked, *chosen]))

  def _folder_if_done(self, config: Config) -> pathlib.Path | None:
    return run_folder.folder(config) if config.name in self._names or status.seems_done(config) else None
