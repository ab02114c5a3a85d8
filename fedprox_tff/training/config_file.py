# SPDX-License-Identifier: Apache-2.0
"""config.json: what made a run. A folder goes on with the run that it holds, and with no other.

Each checkpoint holds the same record, so that a lost or damaged config.json is written again, and a checkpoint of
another run is not taken for one of this run.
"""

import importlib.metadata
import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import fedprox_tff
from fedprox_tff.config.record import Config
from fedprox_tff.core import threads
from fedprox_tff.core.errors import DamagedError, UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.machine import files

NAME = 'config.json'
_PACKAGES = ('tensorflow', 'tensorflow-federated', 'numpy', 'jax', 'jaxlib')


def new_record(config: Config, dataset: FederatedDataset) -> dict[str, Any]:
  """Returns what stands in the config.json of a run that begins."""
  return {
    'config': config.record(),
    'data': {'source': dataset.source, 'fingerprint': dataset.fingerprint},
    'versions': {'fedprox_tff': fedprox_tff.__version__, 'python': sys.version.split()[0]}
    | {package: importlib.metadata.version(package) for package in _PACKAGES},
    'threads': threads.in_use(),
    'revision': _revision(),
    'command': shlex.join(sys.orig_argv),
  }


def read(folder: pathlib.Path) -> dict[str, Any] | None:
  """Returns the record in a folder, None if there is none.

  Raises:
    DamagedError: If it is no record of a run of this version; it names the file.
    OSError: If it cannot be read.
  """
  path = folder / NAME
  try:
    with files.naming(path):
      record = json.loads(path.read_bytes())
    check(record)
  except FileNotFoundError:
    return None
  except (ValueError, RecursionError) as error:
    reason = ' '.join(str(error).split())
    raise DamagedError(f"{path} is not a run's config of this version ({reason})") from None
  return record


def holds(folder: pathlib.Path, config: Config) -> bool:
  """Returns whether a folder is that of this run, whatever its number of rounds.

  Raises:
    OSError: If config.json may be good and cannot be read.
  """
  try:
    record = read(folder)
  except DamagedError:
    return False
  return record is not None and not config.differences(record['config'])


def check(record: Any) -> None:
  """Refuses what is no record of a run.

  Raises:
    ValueError: If so.
  """
  if not isinstance(record, dict) or not isinstance(record.get('config'), dict):
    raise ValueError('it has no config')
  data = record.get('data')
  if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ('source', 'fingerprint')):
    raise ValueError('it does not say which data the run is on')
  rounds = record['config'].get('rounds')
  if not isinstance(rounds, int) or isinstance(rounds, bool):
    raise ValueError(f'its number of rounds is {rounds!r}')
  Config.from_record(record['config'])


def refuse_another_run(folder: pathlib.Path, record: Mapping[str, Any], config: Config, fingerprint: str) -> None:
  """Refuses to go on with the run of a record as another one; only the number of rounds may differ.

  Args:
    folder: The run's folder, for the message.
    record: What `check` has let pass.
    config: The run that is asked for.
    fingerprint: That of its data.

  Raises:
    UserError: If it is another run, or one on other data.
  """
  different = config.differences(record['config'])
  if different:
    there, here = Config.from_record(record['config']).flat(), config.flat()
    values = ', '.join(f'--{key}={there.get(key)} there, {here.get(key)} here' for key in different)
    raise UserError(f'{folder} holds a run of another config ({values}); choose another --name or remove it.')
  data = record['data']
  if data['fingerprint'] != fingerprint:
    raise UserError(f'{folder} holds a run on other data ({data["source"]}); choose another --name or remove it.')


def write(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Writes a record; it is on the disk when this returns.

  Raises:
    OSError: If it cannot be written.
  """
  files.write_text(folder / NAME, json.dumps(record, indent=2) + '\n', lasting=True)


def _revision() -> str:
  """Returns the source's commit, with '-dirty' after it if the package's files differ, or 'unknown' without git.

  It is also unknown where the package is installed, though that may be in somebody else's repository.
  """
  package = pathlib.Path(fedprox_tff.__file__).parent
  tracked = ['ls-files', '--error-unmatch', '__init__.py']
  try:
    _, commit, changes = (
      subprocess.run(['git', '-C', str(package), *command], capture_output=True, text=True, check=True).stdout.strip()
      for command in (tracked, ['rev-parse', 'HEAD'], ['status', '--porcelain', '--', '.'])
    )
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return f'{commit}-dirty' if changes else commit
