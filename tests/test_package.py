# SPDX-License-Identifier: Apache-2.0
"""The package in another project: it is built, installed beside the locked packages, and used far from the source."""

import ast
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import fedprox_tff

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ('fedprox_tff', 'analysis', 'benchmarks', 'experiments')
OTHER_PROJECTS = ('fedjax', 'flwr', 'torch')  # what benchmarks compare with, each in an environment of its own


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """Installs a copy of what a build needs, and returns the folder; nothing is fetched."""
  source, target = (tmp_path_factory.mktemp(name) for name in ('source', 'target'))
  for name in ('pyproject.toml', 'README.md', 'LICENSE', 'requirements.in'):
    shutil.copy(ROOT / name, source)
  for name in ('fedprox_tff', 'analysis', 'benchmarks'):
    shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
  options = ['--quiet', '--no-deps', '--no-build-isolation', '--no-index', '--disable-pip-version-check']
  command = [sys.executable, '-m', 'pip', 'install', *options, '--target', str(target), str(source)]
  result = subprocess.run(command, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stderr
  return target


def python(installed, *arguments):
  """Runs a Python that has the installed package, in its folder and not in ours."""
  command = [sys.executable, *arguments]
  return subprocess.run(command, cwd=installed, capture_output=True, text=True, check=False)


def test_another_project_can_build_a_process(installed):
  code = 'from fedprox_tff.federated.process import build_process as b; print(b.__module__, b.__code__.co_filename)'
  result = python(installed, '-c', code)
  assert result.stdout.split() == ['fedprox_tff.federated.process', str(installed / 'fedprox_tff/federated/process.py')]


def test_the_package_alone_is_installed_with_all_its_files(installed):
  assert {path.name for path in installed.iterdir() if not path.name.endswith('.dist-info')} <= {'fedprox_tff', 'bin'}
  files = {path.relative_to(ROOT) for path in (ROOT / 'fedprox_tff').rglob('*.py')}
  assert {path.relative_to(installed) for path in (installed / 'fedprox_tff').rglob('*.py')} == files


def test_its_metadata_are_those_of_the_source(installed):
  (distribution,) = importlib.metadata.distributions(path=[str(installed)])
  assert distribution.version == fedprox_tff.__version__
  assert {re.match(r'[\w.-]+', line)[0] for line in distribution.requires} == required()


def test_what_only_a_clone_has_is_said_in_one_line(installed):
  result = python(installed, '-m', 'fedprox_tff.sweep', 'figure1_mnist', '--dry_run')
  assert result.returncode == 2
  assert result.stderr == (
    'error: figure1_mnist: no such grid; a TOML file is needed, since those that have a name are in a clone of the '
    'source only.\n'
  )
  assert python(installed, '-m', 'fedprox_tff.sweep', '--help').returncode == 0


def test_the_revision_of_an_installed_package_is_not_that_of_a_repository_around_it(installed):
  identity = ('-c', 'user.name=a', '-c', 'user.email=a@b')
  for command in (['init', '--quiet'], [*identity, 'commit', '--quiet', '--allow-empty', '--message=theirs']):
    subprocess.run(['git', *command], cwd=installed, check=True)
  shown = python(installed, '-c', 'from fedprox_tff.training import config_file; print(config_file._revision())')
  assert shown.stdout == 'unknown\n'


def test_all_that_is_imported_is_required():
  """What a required package happens to bring may be gone with its next version."""
  distributions = importlib.metadata.packages_distributions()
  imported = {
    name for folder in ('fedprox_tff', 'analysis', 'benchmarks', 'experiments') for name in imports_of(folder)
  }
  ours = {path.stem for path in (ROOT / 'benchmarks').glob('*.py')} | {path.name for path in ROOT.iterdir()}
  demanded = required() | required('requirements-ray.in')
  others = imported - ours - set(OTHER_PROJECTS) - set(sys.stdlib_module_names) - {'jax'}
  missing = {name for name in others if not {normal(d) for d in distributions.get(name, [name])} & demanded}
  assert missing == set()
  assert {'tensorflow', 'grpc', 'scipy'} <= others


def required(name='requirements.in'):
  """Returns the names in a file of direct dependencies."""
  lines = (ROOT / name).read_text().splitlines()
  return {normal(re.match(r'[\w.-]+', line)[0]) for line in lines if line and not line.startswith(('#', '-c'))}


def imports_of(folder):
  """Yields the first parts of the names of all modules that a folder's files import, wherever they do so."""
  for path in (ROOT / folder).rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        yield from (alias.name.split('.')[0] for alias in node.names)
      elif isinstance(node, ast.ImportFrom) and not node.level:
        yield node.module.split('.')[0]


def normal(name):
  return re.sub(r'[-_.]+', '-', name).lower()
