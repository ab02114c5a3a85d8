# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from made_runs import CONFIG, csv_text


@pytest.fixture
def make_run(tmp_path):
  """Returns a function that makes the folder of a run, whose config differs from CONFIG in the values given."""

  def make(name, *, metrics=None, **values):
    folder = tmp_path / 'results' / name
    folder.mkdir(parents=True)
    record = {'config': {**CONFIG, 'name': name, **values}, 'versions': {}}
    (folder / 'config.json').write_text(json.dumps(record))
    (folder / 'metrics.csv').write_text(csv_text() if metrics is None else metrics)
    return folder

  return make
