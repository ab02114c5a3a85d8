# SPDX-License-Identifier: Apache-2.0
"""A checkpoint: one sealed file with all that a run needs to go on, but for the states that its clients keep.

    checkpoints/round_<round>.ckpt    which run and which round it is, the process's state, the rows so far,
                                      and which state each client has

Of each client it has the digest of the file that holds its state: `client_states` says more.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.core.errors import DamagedError
from fedprox_tff.machine import files, sealed
from fedprox_tff.training import config_file

FOLDER = 'checkpoints'
_NAME = re.compile(r'round_([0-9]{1,18})\.ckpt', re.ASCII)
_STATE = 'state/'  # what the names of the state's arrays begin with
_ROWS, _CLIENTS, _DIGESTS = 'metrics.csv', 'clients', 'client_digests'


class ClientTable(NamedTuple):
  """Which state each client has that has taken part."""

  versions: np.ndarray  # int64 [clients, 2]: the client, and the round that it has the state from
  digests: np.ndarray  # uint8 [clients, 32]: of the files with these states


class Checkpoint(NamedTuple):
  """What a run needs to go on after a round."""

  round_num: int
  record: Mapping[str, Any]  # config.json
  rows: bytes  # metrics.csv up to the round
  state: Mapping[str, np.ndarray]  # the arrays of the process's state by their place in it
  clients: ClientTable | None  # None for methods whose clients keep nothing


def path_of(run_folder: pathlib.Path, round_num: int) -> pathlib.Path:
  """Returns the file of a round's checkpoint."""
  return run_folder / FOLDER / f'round_{round_num}.ckpt'


def saved_rounds(run_folder: pathlib.Path) -> list[int]:
  """Returns the rounds that have a checkpoint, the newest first.

  Raises:
    OSError: If the folder of checkpoints is there and cannot be read.
  """
  try:
    names = [path.name for path in (run_folder / FOLDER).iterdir()]
  except FileNotFoundError:
    return []
  return sorted((int(match[1]) for name in names if (match := _NAME.fullmatch(name))), reverse=True)


def write(run_folder: pathlib.Path, checkpoint: Checkpoint) -> None:
  """Writes a checkpoint; it is on the disk when this returns.

  Raises:
    OSError: If it cannot be written.
  """
  arrays = {_STATE + place: array for place, array in checkpoint.state.items()}
  arrays[_ROWS] = np.frombuffer(checkpoint.rows, np.uint8)
  if checkpoint.clients is not None:
    arrays |= {_CLIENTS: checkpoint.clients.versions, _DIGESTS: checkpoint.clients.digests}
  about = {'round': checkpoint.round_num, 'run': dict(checkpoint.record)}
  files.make_folder(run_folder / FOLDER)
  sealed.write(path_of(run_folder, checkpoint.round_num), about, arrays, lasting=True)


def read(run_folder: pathlib.Path, round_num: int) -> Checkpoint:
  """Returns the checkpoint of a round.

  Raises:
    DamagedError: If it is not what was written, or that of another round; it names the file.
    OSError: If it may be good and cannot be read.
  """
  path = path_of(run_folder, round_num)
  content = sealed.read(path)
  arrays = dict(content.arrays)
  try:
    config_file.check(content.about['run'])
    if content.about['round'] != round_num:
      raise ValueError(f'it is that of round {content.about["round"]}')
    rows = arrays.pop(_ROWS).tobytes()
    clients = ClientTable(arrays.pop(_CLIENTS), arrays.pop(_DIGESTS)) if _CLIENTS in arrays else None
    state = {name.removeprefix(_STATE): array for name, array in arrays.items()}
  except (ValueError, KeyError) as error:
    raise DamagedError(f'{path} is no checkpoint of this version and round ({error})') from None
  return Checkpoint(round_num, content.about['run'], rows, state, clients)


def newest(run_folder: pathlib.Path) -> Checkpoint | None:
  """Returns the newest checkpoint that is as it was written, None if there is none.

  Raises:
    OSError: If one may be good and cannot be read.
  """
  for round_num in saved_rounds(run_folder):
    try:
      return read(run_folder, round_num)
    except DamagedError:
      continue
  return None
