# SPDX-License-Identifier: Apache-2.0
"""The newest two checkpoints of a run: how they are saved, and which one it goes on from.

A run goes on from the newest checkpoint that is whole: the file itself, the states of all its clients, and of the same
run on the same data. Damage is passed over for the checkpoint before. What is passed over may be good in somebody's
eyes, and is moved to `damaged/`, never removed; if nothing is whole, nothing is touched, and the run is refused. An
error to read is not damage: it ends the run, and the next start finds everything as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tree

from fedprox_tff.core.errors import DamagedError, UserError
from fedprox_tff.machine import console, files
from fedprox_tff.training import checkpoint_file, earlier_versions, metrics_file
from fedprox_tff.training.checkpoint_file import Checkpoint, ClientTable
from fedprox_tff.training.client_states import ClientStates, Snapshot
from fedprox_tff.training.run_folder import RunFolder
from fedprox_tff.training.state_files import FOLDER as CLIENT_STATES

_KEPT = 2  # the newest checkpoints


class Checkpoints:
  """The checkpoints of an open run."""

  def __init__(self, folder: RunFolder, say: Callable[[str], None] = console.say):
    """Makes them.

    Args:
      folder: The run's folder.
      say: Is told of damage, in lines.
    """
    self._folder, self._say = folder, say
    self._client_states: ClientStates | None = None
    self._tables: dict[int, ClientTable | None] = {}  # of clients' states, by saved round
    files.remove_unfinished(folder.path / checkpoint_file.FOLDER)

  def save(self, state: Any, round_num: int, client_states: Snapshot | None = None) -> None:
    """Saves the state after a round, unless it is saved already; all of it is on the disk when this returns.

    Args:
      state: The process's state.
      round_num: The round, whose row is written.
      client_states: What clients keep after it.

    Raises:
      OSError: If it cannot be written; the checkpoints before are as they were.
    """
    if round_num in self._tables:
      return
    try:
      table = None if client_states is None else self._client_states.save(client_states)
      self._folder.metrics.make_lasting()
      text = self._folder.metrics.text_to(round_num)
      checkpoint_file.write(
        self._folder.path, Checkpoint(round_num, self._folder.record, text, _arrays_of(state), table)
      )
    except OSError as error:
      what = f'the state of round {round_num} cannot be saved: {error.strerror}'
      raise OSError(error.errno, what, error.filename) from error
    self._tables[round_num] = table
    for old in sorted(self._tables)[:-_KEPT]:
      checkpoint_file.path_of(self._folder.path, old).unlink(missing_ok=True)
      del self._tables[old]
    if client_states is not None:
      self._client_states.keep(self._tables.values(), newer_than=max(self._tables))

  def forget_before(self, round_num: int) -> None:
    """Removes what clients kept in rounds before `round_num`, unless it is saved: none of them will be saved now."""
    if self._client_states is not None:
      self._client_states.forget_before(round_num)

  def load(self, structure: Any, client_states: ClientStates | None = None) -> tuple[Any, int]:
    """Returns the state to go on from and its round, or `(None, 0)`, and removes the rows that come after.

    Args:
      structure: A state of the same structure.
      client_states: What clients keep, for methods that have it: it takes up the states of that round, and is what
        `save` saves.

    Raises:
      UserError: If there are checkpoints and none of them can be used; it says why, and what to do.
      OSError: If something may be good and cannot be read. Nothing is changed then.
    """
    self._client_states = client_states
    found = checkpoint_file.saved_rounds(self._folder.path)
    if not found and earlier_versions.saved_rounds(self._folder.path):
      return self._load_earlier(structure)
    passed_over: dict[int, str] = {}
    for round_num in found:
      try:
        checkpoint = checkpoint_file.read(self._folder.path, round_num)
        self._check(checkpoint, structure)
      except DamagedError as error:
        passed_over[round_num] = str(error)
      else:
        self._take_up(checkpoint, [older for older in found if older < round_num], passed_over)
        return _packed(checkpoint.state, structure), round_num
    if passed_over:
      raise UserError(
        f'{self._folder.path}: no checkpoint can be used ({"; ".join(passed_over.values())}). Restore the files, or '
        'move the folder away to begin anew.'
      )
    self._begin_anew()
    return None, 0

  def _check(self, checkpoint: Checkpoint, structure: Any) -> None:
    """Reads all that belongs to a checkpoint, and changes nothing.

    Raises:
      DamagedError: If it cannot be used.
    """
    path = checkpoint_file.path_of(self._folder.path, checkpoint.round_num)
    different = self._folder.config.differences(checkpoint.record['config'])
    if different or checkpoint.record['data']['fingerprint'] != self._folder.record['data']['fingerprint']:
      what = f'--{different[0]}' if different else 'the data'
      raise DamagedError(f'{path} is that of another run: {what} is not the same')
    if _shapes(checkpoint.state) != _shapes(_arrays_of(structure)):
      raise DamagedError(f'{path} holds a state of another form than that of this version')
    rows = metrics_file.parse(checkpoint.rows)
    if rows.flaw or len(rows.rows) != checkpoint.round_num + 1:
      raise DamagedError(f'{path} does not hold the rows of its rounds')
    if (checkpoint.clients is None) != (self._client_states is None):
      raise DamagedError(f'{path} does not say what clients keep')
    if self._client_states is not None:
      self._client_states.load(checkpoint.clients)

  def _take_up(self, checkpoint: Checkpoint, older: Sequence[int], passed_over: Mapping[int, str]) -> None:
    """Makes the folder fit the checkpoint that the run goes on from: what is damaged or came later leaves its place."""
    tables, passed_over, has_damage = {checkpoint.round_num: checkpoint.clients}, dict(passed_over), bool(passed_over)
    for round_num in older:
      try:
        tables[round_num] = checkpoint_file.read(self._folder.path, round_num).clients
      except DamagedError as error:
        passed_over[round_num] = str(error)
    for round_num, reason in passed_over.items():
      aside = files.set_aside(checkpoint_file.path_of(self._folder.path, round_num), self._folder.aside)
      self._say(f'warning: the checkpoint of round {round_num} is passed over: {reason}. It is kept as {aside}.')
    flaw = self._folder.metrics.restore(checkpoint.rows, self._folder.aside, keep_later=has_damage)
    if flaw:
      self._say(
        f'warning: {self._folder.path / metrics_file.NAME} is not what the run wrote ({flaw}). Its rows are those of '
        f'the checkpoint of round {checkpoint.round_num} again; what was there is kept in {self._folder.aside}.'
      )
    self._tables = tables
    if self._client_states is not None:
      self._client_states.keep_only(tables.values(), self._folder.aside / CLIENT_STATES if has_damage else None)

  def _begin_anew(self) -> None:
    """Makes room for round 0: rows without a checkpoint are those of a run that was ended early."""
    if self._folder.begin_anew():
      self._say(
        f'warning: {self._folder.path} has rows and no checkpoint, so the run begins anew; the rows are kept in '
        f'{self._folder.aside}.'
      )
    if self._client_states is not None:
      self._client_states.keep_only([])

  def _load_earlier(self, structure: Any) -> tuple[Any, int]:
    """Takes up the newest checkpoint that version 0.2 or an earlier one wrote, and saves it as one of this version."""
    reasons = []
    for round_num in earlier_versions.saved_rounds(self._folder.path):
      try:
        state = earlier_versions.read_state(self._folder.path, round_num, structure)
        kept = []
        if self._client_states is not None:
          kept = list(earlier_versions.read_clients(self._folder.path, round_num, self._client_states.initial))
        flaw = self._folder.metrics.take_up(round_num + 1)
        if flaw:
          raise DamagedError(f'{self._folder.path / metrics_file.NAME}: {flaw}')
      except DamagedError as error:
        reasons.append(str(error))
        continue
      for client, last_round, of_client in kept:
        self._client_states.put(client, of_client, last_round)
      self.save(state, round_num, None if self._client_states is None else self._client_states.snapshot())
      earlier_versions.set_aside(self._folder.path)
      return state, round_num
    raise UserError(
      f'{self._folder.path}: no checkpoint of an earlier version can be used ({"; ".join(reasons)}). Restore the '
      'files, or move the folder away to begin anew.'
    )


def _arrays_of(state: Any) -> dict[str, np.ndarray]:
  """Returns a state's arrays by their place in it, such as 'global_model_weights/trainable/0'."""
  return {'/'.join(map(str, place)): np.asarray(leaf) for place, leaf in tree.flatten_with_path(state)}


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[Any, ...]]:
  """Returns what another version, or another model, would have laid out otherwise."""
  return {place: (array.dtype, array.shape) for place, array in arrays.items()}


def _packed(arrays: Mapping[str, np.ndarray], structure: Any) -> Any:
  """Returns arrays in the structure of a state."""
  return tree.unflatten_as(structure, [arrays[place] for place in _arrays_of(structure)])
