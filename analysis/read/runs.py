# SPDX-License-Identifier: Apache-2.0
"""Runs as one table: a row for each run and round, with what was measured in it and the run's config.

    run          the run's folder
    config/...   each value of config.json: config/mu, config/stragglers
    ...          each column of metrics.csv: round_num, train/loss, mu

A value that a run does not use is NaN or None. Rounds that were not evaluated have their rows, with NaN for what
evaluation measures; `evaluated` leaves them out.
"""

import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.training import columns

ROUND_NUM = columns.ROUND_NUM.name
EVALUATION = tuple(column.name for column in columns.EVALUATION)
_IN_CONFIG = {'algorithm': str, 'dataset': str, 'rounds': int}  # what no run's config is without


def load_runs(folders: Iterable[str | pathlib.Path]) -> pd.DataFrame:
  """Returns the table of the runs in `folders`, in their order; a folder that is given twice counts once.

  Raises:
    UserError: If one of them is not the folder of a run that has begun.
  """
  paths = {path.resolve(): path for path in map(pathlib.Path, folders)}.values()
  configs = pd.DataFrame([{'run': str(path), **_prefixed(read_config(path))} for path in paths])
  metrics = pd.concat([_read_metrics(path).assign(run=str(path)) for path in paths])
  return configs.merge(metrics, on='run', validate='one_to_many')


def evaluated(frame: pd.DataFrame) -> pd.DataFrame:
  """Returns the rows of rounds that were evaluated: any value is there. The loss of a diverged model can be NaN."""
  return frame[frame[list(EVALUATION)].notna().any(axis=1)]


def configs(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
  """Returns each run's config, None for what it does not use."""
  columns = [column for column in frame if column.startswith('config/')]
  rows = frame.drop_duplicates('run').set_index('run')[columns].astype(object)
  rows.columns = [column.removeprefix('config/') for column in columns]
  return rows.where(rows.notna(), None).to_dict('index')


def find_runs(results_dir: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders below `results_dir` that hold a config.json, wherever they lie and whatever their names."""
  runs = []
  for folder, below, files in os.walk(results_dir):
    below.sort()
    if 'config.json' in files:
      runs.append(pathlib.Path(folder))
      below.clear()
  return runs


def read_config(path: pathlib.Path) -> dict[str, Any]:
  """Returns the config of the run in a folder.

  Raises:
    UserError: If it is not the folder of a run.
  """
  _check_folder(path)
  try:
    record = json.loads((path / 'config.json').read_text())['config']
    written = _flattened(record)
    wrong = [key for key, kind in _IN_CONFIG.items() if not isinstance(written.get(key), kind)]
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(f'{path}: config.json cannot be read as that of a run ({_line(error)}).') from None
  if wrong:
    raise UserError(f'{path}: config.json is not that of a run: it lacks {", ".join(wrong)}.')
  return flat(record)


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config as flags and values: that of `fedprox_tff` where this version can read it.

  What another version has written is flattened as it is, so that its runs can be drawn beside others.
  """
  try:
    return Config.from_record(record).flat()
  except ValueError:
    return _flattened(record)


def _flattened(record: Mapping[str, Any]) -> dict[str, Any]:
  values = {}
  for key, value in record.items():
    if isinstance(value, Mapping):
      values |= {key: value.get('name'), **_flattened({k: v for k, v in value.items() if k != 'name'})}
    elif value is not None:
      values[key] = value
  return values


def _prefixed(config: dict[str, Any]) -> dict[str, Any]:
  return {f'config/{key}': value for key, value in config.items()}


def _check_folder(path: pathlib.Path) -> None:
  needed = "the folder of a run is needed, such as results/<name>, which holds the run's config.json and metrics.csv."
  if path.is_file():
    raise UserError(f'{path} is a file; {needed}')
  if not path.is_dir():
    raise UserError(f'{path} does not exist; {needed}')
  if not (path / 'config.json').exists():
    runs = len(list(path.glob('*/config.json')))
    found = f'holds {runs} runs and is none itself' if runs else 'has no config.json'
    raise UserError(f'{path} {found}; {needed}')


def _read_metrics(path: pathlib.Path) -> pd.DataFrame:
  """Returns the whole rows of metrics.csv, which a run may be writing to right now."""
  try:
    text = (path / 'metrics.csv').read_text() if (path / 'metrics.csv').exists() else ''
    text = text[: text.rfind('\n') + 1]
    table = io.StringIO(text or f'{ROUND_NUM}\n')
    metrics = pd.read_csv(table, dtype=float, index_col=False, float_precision='round_trip')
  except (OSError, ValueError) as error:
    raise UserError(f'{path}: metrics.csv cannot be read as that of a run ({_line(error)}).') from None
  if metrics.empty:
    raise UserError(f'{path}: metrics.csv has no row yet; at least one round is needed, and the run writes it.')
  missing = [column for column in (ROUND_NUM, *EVALUATION) if column not in metrics]
  if missing:
    raise UserError(f'{path}: metrics.csv is not that of a run: it has no column {", ".join(missing)}.')
  rounds = metrics[ROUND_NUM]
  if not (rounds.diff().iloc[1:] > 0).all() or (rounds % 1 != 0).any():
    raise UserError(f'{path}: metrics.csv is not that of a run: round_num must be whole numbers in rising order.')
  if evaluated(metrics).empty:
    raise UserError(f'{path}: metrics.csv has no evaluated round; a row with test/accuracy and train/loss is needed.')
  return metrics.astype({ROUND_NUM: int})


def _line(error: Exception) -> str:
  return ' '.join(f'{type(error).__name__}: {error}'.split())
