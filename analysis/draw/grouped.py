# SPDX-License-Identifier: Apache-2.0
"""Any runs as rows and columns of panels: a curve for each setting, with a band over its seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.draw import labels, looks
from analysis.draw.sheets import Panel, Sheet, caption_of
from analysis.read.cells import FREE, measured
from analysis.read.runs import ROUND_NUM
from fedprox_tff.core.errors import UserError

_CONFIG = 'config/'


def sheet_of(
  frame: pd.DataFrame, *, x: str, y: str, hue: Sequence[str] = (), row: str | None = None, col: str | None = None
) -> Sheet:
  """Groups the runs of a table from `load.load_runs`.

  Args:
    frame: The runs.
    x: A column of metrics.csv, or a key of the config: then `y` is that of each run's last round.
    y: A column of metrics.csv.
    hue: Keys of the config, each of whose values has a curve; without any, all that differs has.
    row: A key of the config, each of whose values has a row of panels.
    col: The same for columns.

  Raises:
    UserError: If there is no such column or key, or a curve would be of runs that differ in more than their seeds.
  """
  configs = {run: rows.iloc[0] for run, rows in frame.groupby('run', sort=False)}
  configs = {run: {k: config[_CONFIG + k] for k in _keys(frame)} for run, config in configs.items()}
  configs = {run: {k: None if pd.isna(v) else v for k, v in config.items()} for run, config in configs.items()}
  for key in filter(None, (*hue, row, col)):
    _check(key, _keys(frame), 'a key of the config')
  columns = [column for column in frame if column != 'run' and not column.startswith(_CONFIG)]
  _check(y, columns, 'a column of metrics.csv')
  x_key = x.removeprefix(_CONFIG) if x not in columns else None
  if x_key is not None:
    _check(x_key, _keys(frame), f'a key of the config, nor a column of metrics.csv ({", ".join(sorted(columns))})')
  panel_keys = [key for key in (row, col, x_key) if key]
  names = _curve_names(configs, hue, panel_keys)
  _check_seeds_alone(configs, names, panel_keys)
  rows, cols = (_values(configs, key) for key in (row, col))
  tables = {run: _points(rows, x, y, x_key) for run, rows in frame.groupby('run', sort=False)}

  def panel(row_value: Any, col_value: Any) -> dict[str, pd.DataFrame]:
    here = [run for run, config in configs.items() if row is None or config[row] == row_value]
    here = [run for run in here if col is None or configs[run][col] == col_value]
    return {
      name: _table({run: tables[run] for run in here if names[run] == name}, configs, x_key)
      for name in dict.fromkeys(names[run] for run in here)
    }

  curves = list(dict.fromkeys(names.values()))
  firsts = [next(config for run, config in configs.items() if names[run] == name) for name in curves]
  return Sheet(
    title=y,
    caption=caption_of(list(configs.values())),
    x=x,
    rows=_headings(configs, row, rows),
    columns=_headings(configs, col, cols),
    panels=[[Panel(y, panel(r, c)) for c in cols] for r in rows],
    looks=dict(zip(curves, looks.choose_looks(firsts), strict=True)),
    share='col' if col == 'dataset' else 'all',
  )


def _keys(frame: pd.DataFrame) -> list[str]:
  return [column.removeprefix(_CONFIG) for column in frame if column.startswith(_CONFIG)]


def _check(name: str, known: Sequence[str], what: str) -> None:
  if name not in known:
    raise UserError(f'{name} is not {what} of these runs; there are {", ".join(sorted(known))}.')


def _values(configs: Mapping[str, Mapping[str, Any]], key: str | None) -> list[Any]:
  """Returns a key's values in rising order, as far as they have one; `[None]` without a key."""
  values = list(dict.fromkeys(config[key] for config in configs.values())) if key else [None]
  return sorted(values, key=lambda v: (isinstance(v, str), v is None, v if v is not None else 0))


def _headings(configs: Mapping[str, Mapping[str, Any]], key: str | None, values: Sequence[Any]) -> list[str]:
  if key is None:
    return ['']
  words = [labels.say(next(c for c in configs.values() if c[key] == value), key) for value in values]
  return [word[0].upper() + word[1:] for word in words]


def _curve_names(
  configs: Mapping[str, Mapping[str, Any]], hue: Sequence[str], elsewhere: Sequence[str]
) -> dict[str, str]:
  """Returns the name of each run's curve: its hue in words, or all that sets it apart but seeds and panels."""
  if hue:
    return {run: labels.say_all(config, hue) for run, config in configs.items()}
  hidden = FREE | set(elsewhere)
  settings = {run: str({k: v for k, v in config.items() if k not in hidden}) for run, config in configs.items()}
  distinct = {settings[run]: config for run, config in configs.items()}
  entries, _ = labels.legend_and_caption(distinct, hidden)
  named = dict(zip(distinct, entries, strict=True))
  return {run: named[setting] for run, setting in settings.items()}


def _check_seeds_alone(
  configs: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], panel_keys: Sequence[str]
) -> None:
  """Refuses a mean over runs that differ in more than their seeds."""
  first_of, with_seed = {}, {}
  for run, config in configs.items():
    place = names[run], *(config[key] for key in panel_keys)
    first = first_of.setdefault(place, run)
    differing = [key for key in config if key not in FREE and config[key] != configs[first][key]]
    if differing:
      raise UserError(
        f'{first} and {run} would be one curve ({names[run]}), but differ in {", ".join(differing)}; name what differs '
        'with --hue (several with commas), --row or --col.'
      )
    other = with_seed.setdefault((*place, config['seed']), run)
    if other != run:
      raise UserError(f'{other} and {run} are one curve ({names[run]}) and have the same seed; leave one out.')


def _points(frame: pd.DataFrame, x: str, y: str, x_key: str | None) -> pd.DataFrame:
  """Returns a run's values of x and y, by round."""
  values = measured(frame, y)
  if values.empty:
    raise UserError(f'{frame["run"].iloc[0]}: {y} was not measured.')
  if x_key:
    value = frame[_CONFIG + x_key].iloc[0]
    if not isinstance(value, int | float | np.number) or pd.isna(value):
      raise UserError(f'{frame["run"].iloc[0]}: --x={x_key} needs numbers, but this run has {x_key} = {value}.')
    return pd.DataFrame({'x': float(value), 'y': values.iloc[-1:]})
  return pd.DataFrame({'x': frame.set_index(ROUND_NUM, drop=False)[x], 'y': values}).loc[values.index]


def _table(
  tables: Mapping[str, pd.DataFrame], configs: Mapping[str, Mapping[str, Any]], x_key: str | None
) -> pd.DataFrame:
  """Returns a row for each x, a column for each seed; where seeds have x of their own, theirs are averaged."""
  if x_key:
    tidy = [(table['x'].iloc[0], configs[run]['seed'], table['y'].iloc[0]) for run, table in tables.items()]
    return pd.DataFrame(tidy, columns=['x', 'seed', 'y']).pivot_table(index='x', columns='seed', values='y')
  seeds = {configs[run]['seed']: table for run, table in tables.items()}
  values = pd.concat({seed: table['y'] for seed, table in seeds.items()}, axis=1, join='inner')
  xs = pd.concat([table['x'] for table in seeds.values()], axis=1, join='inner')
  return values.set_index(xs.mean(axis=1)) if len(values) else values
