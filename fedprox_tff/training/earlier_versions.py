# SPDX-License-Identifier: Apache-2.0
"""Runs that version 0.2 or an earlier one began: their checkpoints are read once, and kept in `earlier/`.

    checkpoints/round_<round>/               a SavedModel with the process's state
    client_states/round_<round>.npy          int64 [clients that have taken part, (client, round)]
    client_states/<client>-<round>.npy       the numbers of a client's state, flat, in float32

A SavedModel is a program, so it is not loaded: the variables beside it are read as arrays.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tree

from fedprox_tff.core.errors import DamagedError
from fedprox_tff.machine import files
from fedprox_tff.training import checkpoint_file
from fedprox_tff.training.client_states import unflatten
from fedprox_tff.training.state_files import FOLDER

_EARLIER = 'earlier'
_NAME = re.compile(r'round_([0-9]{1,18})', re.ASCII)


def saved_rounds(run_folder: pathlib.Path) -> list[int]:
  """Returns the rounds that have a checkpoint of an earlier version, the newest first."""
  folder = run_folder / checkpoint_file.FOLDER
  names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []
  return sorted((int(match[1]) for name in names if (match := _NAME.fullmatch(name))), reverse=True)


def read_state(run_folder: pathlib.Path, round_num: int, structure: Any) -> Any:
  """Returns the process's state after a round.

  Args:
    run_folder: The run's folder.
    round_num: The round.
    structure: A state of the same structure.

  Raises:
    DamagedError: If it is not there, damaged, or of another structure.
  """
  import tensorflow as tf

  path = run_folder / checkpoint_file.FOLDER / f'round_{round_num}' / 'variables' / 'variables'

  def read(place: tuple[Any, ...], leaf: Any) -> np.ndarray:
    array = variables.get_tensor('/'.join(['_value', *map(str, place), '.ATTRIBUTES', 'VARIABLE_VALUE']))
    if np.shape(array) != np.shape(leaf):
      raise ValueError(f'{"/".join(map(str, place))} has the shape {np.shape(array)}, not {np.shape(leaf)}')
    return np.asarray(array)

  try:
    variables = tf.train.load_checkpoint(str(path))
    return tree.map_structure_with_path(read, structure)
  except (ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:  # all of them are TensorFlow's for damage
    raise DamagedError(f'{path}: {" ".join(str(error).split())}') from None


def read_clients(run_folder: pathlib.Path, round_num: int, initial: Any) -> Iterator[tuple[int, int, Any]]:
  """Yields each client that had taken part by a round, the round that its state is from, and the state.

  Args:
    run_folder: The run's folder.
    round_num: The round.
    initial: The state of a client that has not taken part.

  Raises:
    DamagedError: If one is not there, or damaged.
  """
  folder, size = run_folder / FOLDER, sum(np.size(leaf) for leaf in tree.flatten(initial))
  for client, last_round in _array(folder / f'round_{round_num}.npy').reshape(-1, 2).tolist():
    numbers = _array(folder / f'{client}-{last_round}.npy')
    if numbers.shape != (size,) or numbers.dtype != np.float32:
      raise DamagedError(f'{folder}/{client}-{last_round}.npy holds {numbers.size} numbers, not {size}')
    yield client, last_round, unflatten(numbers, initial)


def set_aside(run_folder: pathlib.Path) -> None:
  """Moves what an earlier version saved out of the way."""
  aside = run_folder / _EARLIER
  for round_num in saved_rounds(run_folder):
    files.set_aside(run_folder / checkpoint_file.FOLDER / f'round_{round_num}', aside)
  for path in (run_folder / FOLDER).glob('*.npy'):
    files.set_aside(path, aside / FOLDER)


def _array(path: pathlib.Path) -> np.ndarray:
  """Reads an array; called from one thread alone, see `machine.sealed`."""
  try:
    array = np.load(path)
    if not isinstance(array, np.ndarray):
      raise ValueError('it is an archive')
    return array
  except (FileNotFoundError, ValueError, EOFError, SyntaxError, ArithmeticError) as error:
    raise DamagedError(f'{path}: {" ".join(str(error).split())}') from None
