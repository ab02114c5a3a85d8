# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture
def places(monkeypatch, tmp_path):
  """The folders of the flag, of the variable and of the cache, all empty."""
  flag, variable, cache = (tmp_path / name for name in ('flag', 'variable', 'xdg/fedprox_tff'))
  for folder in (flag, variable, cache):
    folder.mkdir(parents=True)
  monkeypatch.setenv('FEDPROX_DATA_DIR', str(variable))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
  return flag, variable, cache
