# SPDX-License-Identifier: Apache-2.0
"""The cells of a sweep, as far as they are known: what a search decides becomes cells when its runs are done.

Nothing is remembered from one sweep to the next: the same runs lead to the same choices.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from fedprox_tff.config.record import Config
from fedprox_tff.sweeps import grids, search, status
from fedprox_tff.sweeps.claims import Claims, Record
from fedprox_tff.sweeps.grids import Grid
from fedprox_tff.sweeps.search import Choice, Trial
from fedprox_tff.sweeps.status import Status
from fedprox_tff.training import run_folder


class Plan:
  """The cells of some grids, or of a part of them.

  Attributes:
    configs: The cells that can be run, those of searches included; more are added where a search ends.
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
    heads = status.arrange(grids.merge([*plain, *(trial.candidates[0] for trial in self._trials)]))
    mine = {config.name for config in status.part(heads, *part)}
    self._plain = [config for config in plain if config.name in mine]
    self._trials = [trial for trial in self._trials if trial.candidates[0].name in mine]
    self.choices: list[Choice] = []
    self._done: set[Config] = set()
    self._incomplete: dict[int, list[Config]] = {}  # by trial's id; checking a config takes a while
    self._arrange()

  def look(self, claims: Claims, records: Mapping[str, Record]) -> list[Status]:
    """Returns how far all cells are, and chooses where a search has ended; see `status.look`."""
    statuses = status.look(self.configs, claims, records, self._done)
    if self._choose():
      statuses = status.look(self.configs, claims, records, self._done)
    failed = {status.config.name for status in statuses if status.state == 'failed'}
    return statuses + [status for trial in self._open() for status in self._waiting(trial, failed)]

  def write_choices(self) -> list[pathlib.Path]:
    """Writes what the searches of whole grids chose so far, whoever ran them, and returns the files."""
    paths = []
    for grid in self._grids:
      ended = [search.choose(trial, _folder_if_done) for trial in grid.trials]
      ended = [choice for choice in ended if choice]
      if ended:
        paths.append(run_folder.results_folder(ended[0].trial.candidates[0]) / f'{grid.name}-choices.csv')
        search.write(paths[-1], ended)
    return paths

  def _waiting(self, trial: Trial, failed: set[str]) -> list[Status]:
    """Returns the cells whose config a search has yet to complete."""
    missing = [config.name for config in trial.candidates if config.name in failed]
    state, reason = ('failed', f'the search needs {missing[0]}') if missing else ('waiting', '')
    if id(trial) not in self._incomplete:
      self._incomplete[id(trial)] = [
        dataclasses.replace(config, name=f'{trial}, seed={config.seed}: for its {trial.flag}')
        for config in trial.cells(trial.values[0])
      ]
    return [Status(config, state, 0, reason) for config in self._incomplete[id(trial)]]

  def _open(self) -> list[Trial]:
    ended = [choice.trial for choice in self.choices]
    return [trial for trial in self._trials if not any(trial is other for other in ended)]

  def _choose(self) -> bool:
    """Makes the choices that can be made; returns whether there are any."""
    done = {config.name for config in self._done}
    ready = [trial for trial in self._open() if all(config.name in done for config in trial.candidates)]
    choices = [choice for trial in ready if (choice := search.choose(trial, run_folder.folder))]
    self.choices += choices
    if choices:
      self._arrange()
    return bool(choices)

  def _arrange(self) -> None:
    candidates = [config for trial in self._trials for config in trial.candidates]
    chosen = [config for choice in self.choices for config in choice.cells]
    self.configs = status.arrange(grids.merge([*self._plain, *candidates, *chosen]))


def _folder_if_done(config: Config) -> pathlib.Path | None:
  return run_folder.folder(config) if status.seems_done(config) else None
