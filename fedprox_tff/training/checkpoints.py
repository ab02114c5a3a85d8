# SPDX-License-Identifier: Apache-2.0
"""The newest states of a run's process, and of what its clients keep, in the folder of the run.

They are written by `tff.program`'s manager of states. Its manager of CSV files takes 4 ms a row, as long as half a
round, so rows are written by `run_folder`.
"""

import asyncio
import contextlib
import logging
import re
import shutil
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.training.client_states import ClientStates, Snapshot
from fedprox_tff.training.run_folder import RunFolder

_PREFIX = 'round_'


class Checkpoints:
  """The checkpoints of one run; a context manager."""

  def __init__(self, folder: RunFolder):
    self._folder = folder
    self._path = folder.path / 'checkpoints'
    self._client_states: ClientStates | None = None
    self._loop = asyncio.Runner()
    for half_saved in self._path.glob(f'{_PREFIX}*_temp*'):
      shutil.rmtree(half_saved)
    self._manager = tff.program.FileProgramStateManager(str(self._path), prefix=_PREFIX, keep_total=2, keep_first=False)

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_) -> None:
    self._loop.close()

  def save(self, state: Any, round_num: int, client_states: Snapshot | None = None) -> None:
    """Saves the state after `round_num`, unless it is saved already, and what clients keep then.

    Raises:
      OSError: If it cannot be written.
    """
    if client_states is not None:
      self._client_states.save(client_states, round_num)
    try:
      with contextlib.suppress(tff.program.ProgramStateExistsError):
        self._loop.run(self._manager.save(state, round_num))
    except tf.errors.OpError as error:  # TensorFlow's way to say that a disk is full
      reason = re.sub(r'\{\{.*?\}\}|\[Op:.*?\]', '', error.message).strip()
      raise OSError(f'the state of round {round_num} cannot be saved: {reason}') from error
    if client_states is not None:
      self._client_states.keep(self._saved_rounds())

  def forget_before(self, round_num: int) -> None:
    """Removes what clients kept in rounds before `round_num`, unless it is saved: none of them will be saved now."""
    if self._client_states is not None:
      self._client_states.forget_before(round_num)

  def load(self, structure: Any, client_states: ClientStates | None = None) -> tuple[Any, int]:
    """Returns the newest state and its round, or `(None, 0)`, and removes the rows that come after.

    Args:
      structure: A state of the same structure.
      client_states: What clients keep, for methods that have it: it takes up the states of that round, and is what
        `save` saves.
    """
    self._client_states = client_states
    state, round_num = self._newest(structure)
    self._folder.keep_rows(0 if state is None else round_num + 1)
    if client_states is not None:
      client_states.keep(self._saved_rounds(), newer=False)
    return state, round_num

  def _saved_rounds(self) -> list[int]:
    return self._loop.run(self._manager.get_versions()) or []

  def _newest(self, structure: Any) -> tuple[Any, int]:
    for round_num in sorted(self._saved_rounds(), reverse=True):
      state = self._load(round_num, structure) if self._folder.has_rows_to(round_num) else None
      if state is not None:
        return state, round_num
      shutil.rmtree(self._path / f'{_PREFIX}{round_num}')  # no rows, or it cannot be read: its place must be free
    return None, 0

  def _load(self, round_num: int, structure: Any) -> Any:
    """Returns a saved state, None if the file is damaged."""
    try:
      state = self._loop.run(self._manager.load(round_num, structure))
      if _shapes(state) != _shapes(structure):
        raise ValueError(f'its shapes are {_shapes(state)}, not {_shapes(structure)}.')
      if self._client_states is not None:
        self._client_states.load(round_num)
      return state
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
      logging.warning('The state of round %d cannot be read and is passed over: %s', round_num, error)
      return None


def _shapes(state: Any) -> list[tuple[int, ...]]:
  """Returns the shapes of a state's numbers, which another version of a model may have laid out otherwise."""
  return [np.shape(leaf) for leaf in tf.nest.flatten(state)]
