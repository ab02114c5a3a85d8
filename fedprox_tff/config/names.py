# SPDX-License-Identifier: Apache-2.0
"""The name of a run's folder, if nobody chooses one: the method, the data set, and what differs from the defaults."""

import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fedprox_tff.config.settings import of_results
from fedprox_tff.config.signatures import parameters


def default_name(config: Any, silent: Collection[str], read: Callable[[Mapping[str, Any]], Any]) -> str:
  """Names a run, so that another config has another folder.

  Args:
    config: The run's `Config`.
    silent: Flags that do not change results.
    read: Flags to the `Config` that has them and the defaults of all others.
  """
  flat, source = of_results(config.flat()), config.dataset.build()
  plain = read(_given(flat, 'dataset', 'algorithm', 'data_dir')).flat()
  # Other defaults follow from these, and are not named beside them: a model and a backbone have their own, and the
  # number of clients is the size of a cohort that needs them all.
  own = parameters(config.algorithm.factory).values()
  chosen = ['model', 'num_clients', *(each.name for each in own if each.table and each.kind is str)]
  baseline = read(_given(flat, 'dataset', 'algorithm', 'data_dir', *chosen)).flat()
  baseline |= {key: plain.get(key) for key in chosen}
  parts = [config.algorithm.name, config.dataset.name, *filter(None, [source.folder])]
  silent = {*silent, 'rounds'}  # a longer run continues a shorter one
  if 'model' in flat:  # may be FILE.py:function, and a name has no folders in it
    flat['model'] = pathlib.PurePath(flat['model']).name
    baseline['model'] = pathlib.PurePath(baseline['model']).name
  parts += [f'{key}={value}' for key, value in flat.items() if key not in silent and value != baseline.get(key)]
  return '-'.join(parts)


def _given(flat: Mapping[str, Any], *keys: str) -> dict[str, Any]:
  return {key: flat[key] for key in keys if key in flat}
