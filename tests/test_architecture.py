# SPDX-License-Identifier: Apache-2.0
"""Imports point one way, without a circle, and what must answer at once imports no TensorFlow."""

import pathlib
import subprocess
import sys

import pytest

from tests import imports

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ('fedprox_tff', 'analysis', 'benchmarks', 'experiments', 'scripts')


def test_imports_point_one_way():
  assert imports.wrong(imports.read(ROOT, FOLDERS)) == []


def made_up(tmp_path, **files):
  """Returns what is wrong with a tree of files, by their names with __ for a dot."""
  for name, text in files.items():
    path = tmp_path / pathlib.Path(*name.split('__')).with_suffix('.py')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return imports.wrong(imports.read(tmp_path, ['fedprox_tff']))


def test_an_import_of_a_higher_rank_is_found_wherever_it_is(tmp_path):
  assert made_up(
    tmp_path,
    fedprox_tff__training__loop='',
    fedprox_tff__core__tree='def f():\n  from fedprox_tff.training import loop\n',
    fedprox_tff__config__record='import typing\nif typing.TYPE_CHECKING:\n  import fedprox_tff.training.loop\n',
  ) == [
    'fedprox_tff.config.record imports fedprox_tff.training.loop, which is of a higher rank',
    'fedprox_tff.core.tree imports fedprox_tff.training.loop, which is of a higher rank',
  ]


def test_a_circle_is_found(tmp_path):
  assert made_up(
    tmp_path,
    fedprox_tff__core__a='from fedprox_tff.core.b import x\n',
    fedprox_tff__core__b='from fedprox_tff.core import c\n',
    fedprox_tff__core__c='from . import a\n',
    fedprox_tff__core__d='from fedprox_tff.core import a\n',
  ) == ['a circle: fedprox_tff.core.a -> fedprox_tff.core.b -> fedprox_tff.core.c']


def test_a_wall_within_the_ranks_is_found(tmp_path):
  (said,) = made_up(
    tmp_path, fedprox_tff__config__record='', fedprox_tff__federated__process='from fedprox_tff.config import record\n'
  )
  assert said == 'fedprox_tff.federated.process imports fedprox_tff.config.record, from which it is to be kept apart'


def test_a_module_without_a_room_is_an_error(tmp_path):
  with pytest.raises(AssertionError, match=r'fedprox_tff\.cellar is in no room'):
    made_up(tmp_path, fedprox_tff__cellar='', fedprox_tff__core__tree='import fedprox_tff.cellar\n')


@pytest.mark.parametrize(
  'code',
  [
    "from fedprox_tff import run; run.main(['run', '--help'])",
    "from fedprox_tff import sweep; sweep.main(['sweep', '--help'])",
    "from fedprox_tff import sweep; sweep.main(['sweep', 'figure1_mnist', '--dry_run'])",
    'from fedprox_tff.config.record import Config; from fedprox_tff.training.run_folder import is_done; '
    'is_done(Config.from_flags({}))',
    'from fedprox_tff import doctor; doctor.read_pins("")',
    'from fedprox_tff.training.data import load',
  ],
)
def test_what_answers_at_once_imports_no_tensorflow(code, tmp_path):
  code += "; import sys; print([name for name in sys.modules if name.startswith(('tensorflow', 'jax', 'keras'))])"
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=tmp_path,
    env={'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.splitlines()[-1] == '[]'
