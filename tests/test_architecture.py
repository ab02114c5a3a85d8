# SPDX-License-Identifier: Apache-2.0
"""Imports point one way: tree -> algorithms -> federated -> loop -> run; data are numpy."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / 'fedprox_tff'
MODULES = sorted(PACKAGE.rglob('*.py'))


def imported(path):
  """Returns the names of all modules that a file imports, at its top or in a function."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def uses(path, *prefixes):
  return {name for name in imported(path) for prefix in prefixes if f'{name}.'.startswith(f'{prefix}.')}


@pytest.mark.parametrize('path', MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
  name = str(path.relative_to(PACKAGE))
  above = ['fedprox_tff.run', 'fedprox_tff.sweep']
  if name not in ('run.py', 'sweep.py'):
    assert not uses(path, *above)
  if name.startswith(('algorithms/', 'datasets/', 'models/', 'federated/')) or name in ('tree.py', 'cohort.py'):
    assert not uses(
      path, 'fedprox_tff.training.loop', 'fedprox_tff.training.builder', 'fedprox_tff.config.record', 'absl'
    )
  if name.startswith(('algorithms/', 'datasets/', 'models/')) or name in ('tree.py', 'cohort.py', 'partitions.py'):
    assert not uses(path, 'fedprox_tff.federated', 'tensorflow_federated')
  if name.startswith('algorithms/') or name in ('tree.py', 'cohort.py', 'partitions.py', 'config.py'):
    assert not uses(path, 'tensorflow')
