# SPDX-License-Identifier: Apache-2.0
"""Imports point one way, from the doors down to the core, and what answers at once needs no TensorFlow."""

import pathlib
import subprocess
import sys

import pytest

from tests.imports import problems

ROOT = pathlib.Path(__file__).parents[1]


def test_imports_point_one_way_and_make_no_circle():
  assert problems(ROOT) == []


@pytest.mark.parametrize(
  ('files', 'said'),
  [
    ({'core/a.py': '', 'config/b.py': 'from fedprox_tff.core import a', 'run.py': 'import fedprox_tff.config.b'}, []),
    ({'core/a.py': 'from fedprox_tff.config import b', 'config/b.py': ''}, ['core.a imports fedprox_tff.config.b']),
    ({'core/a.py': 'import fedprox_tff.config.b', 'config/b.py': ''}, ['core.a imports fedprox_tff.config.b']),
    ({'core/a.py': 'from ..config.b import c', 'config/b.py': 'c = 1'}, ['core.a imports fedprox_tff.config.b']),
    (
      {'core/a.py': 'def f():\n  from fedprox_tff.config.b import c', 'config/b.py': 'c = 1'},
      ['core.a imports fedprox_tff.config.b'],
    ),
    (
      {'core/a.py': 'if TYPE_CHECKING:\n  from fedprox_tff.config.b import c', 'config/b.py': 'c = 1'},
      ['core.a imports fedprox_tff.config.b'],
    ),
    (
      {'config/__init__.py': 'b = 1', 'core/a.py': 'from fedprox_tff.config import b'},
      ['core.a imports fedprox_tff.config'],
    ),
    (
      {'models/a.py': 'import fedprox_tff.datasets.b', 'datasets/b.py': ''},
      ['models.a imports fedprox_tff.datasets.b'],
    ),
    (
      {'federated/a.py': 'import fedprox_tff.config.b', 'config/b.py': ''},
      ['federated.a imports fedprox_tff.config.b'],
    ),
    ({'attic/a.py': ''}, ['attic.a is in no room of the plan']),
    ({'sweep.py': 'import fedprox_tff.run', 'run.py': ''}, ['sweep imports fedprox_tff.run']),
    ({'core/a.py': 'import fedprox_tff.core.b', 'core/b.py': 'import numpy, fedprox_tff'}, []),
    (
      {
        'core/a.py': 'import fedprox_tff.core.b',
        'core/b.py': 'def f():\n  from . import c',
        'core/c.py': 'from . import a',
      },
      ['circle: fedprox_tff.core.a -> fedprox_tff.core.b -> fedprox_tff.core.c -> fedprox_tff.core.a'],
    ),
  ],
)
def test_what_the_plan_of_the_rooms_does_not_allow_is_found(tmp_path, files, said):
  write(tmp_path, {f'fedprox_tff/{name}': text for name, text in {'__init__.py': '', **files}.items()})
  assert problems(tmp_path) == [line if line.startswith('circle') else f'fedprox_tff.{line}' for line in said]


@pytest.mark.parametrize(
  ('user', 'used', 'allowed'),
  [
    ('analysis/read', 'training/run_folder', True),
    ('analysis/read', 'training/session', False),
    ('analysis/read', 'sweeps/grids', True),
    ('analysis/read', 'sweeps/pool', False),
    ('analysis/read', 'federated/process', False),
    ('analysis/read', 'machine/console', True),
    ('benchmarks/time', 'sweeps/pool', True),
    ('benchmarks/time', 'run', False),
    ('experiments/sign', 'training/session', True),
    ('experiments/sign', 'sweep', False),
    ('fedprox_tff/training/loop', 'analysis/read', False),
  ],
)
def test_what_programs_beside_the_package_may_import(tmp_path, user, used, allowed):
  used = used if used.startswith('analysis') else f'fedprox_tff/{used}'
  write(tmp_path, {f'{user}.py': f'import {used.replace("/", ".")}', f'{used}.py': ''})
  names = [name.replace('/', '.') for name in (user, used)]
  assert problems(tmp_path) == ([] if allowed else [f'{names[0]} imports {names[1]}'])


def write(root, files):
  for name, text in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + '\n')


IS_DONE = """
from fedprox_tff.config.record import Config
from fedprox_tff.training.run_folder import is_done
assert not is_done(Config.from_flags({'results_dir': '/no/such/folder'}))
"""
SLOW = ('tensorflow', 'tensorflow_federated', 'jax', 'pandas', 'matplotlib')


def imported(code):
  """Returns the names of all modules that a Python has imported when code has ended in it."""
  code = f'import atexit, sys\natexit.register(lambda: print("\\n", *sys.modules))\n{code}'
  result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stderr
  return set(result.stdout.splitlines()[-1].split())


def door(name, *arguments):
  return f'import runpy, sys\nsys.argv[1:] = {arguments!r}\nrunpy.run_module("fedprox_tff.{name}", run_name="__main__")'


@pytest.mark.parametrize(
  'code',
  [
    door('run', '--help'),
    door('sweep', '--help'),
    door('sweep', 'figure1_mnist', '--dry_run', '--results_dir=/no/such/folder'),
    door('doctor', '--help'),
    IS_DONE,
  ],
  ids=['run --help', 'sweep --help', 'sweep --dry_run', 'doctor --help', 'is a run done?'],
)
def test_it_answers_without_what_takes_seconds_to_import(code):
  assert imported(code) & set(SLOW) == set()


def test_the_doctor_needs_only_the_standard_library():
  """A Python that lacks the suite's packages must be able to say so."""
  others = {name for name in imported(door('doctor', '--help')) if not name.startswith('_') and '.' not in name}
  known = imported('')  # with what the installation itself brings, such as setuptools' hooks
  assert others - known - set(sys.stdlib_module_names) == {'fedprox_tff'}


def test_what_is_imported_is_seen():
  assert {'numpy', 'fedprox_tff.core.streams'} <= imported('import fedprox_tff.core.streams')
