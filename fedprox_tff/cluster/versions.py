# SPDX-License-Identifier: Apache-2.0
"""The versions that all nodes of a cluster have to share; told without an import of TensorFlow."""

import importlib.metadata
import sys
from collections.abc import Mapping

import fedprox_tff

MISSING = 'missing'


def versions() -> dict[str, str]:
  """Returns the versions here of what decides about the bits of a result."""
  own = {'python': sys.version.split()[0], 'fedprox_tff': fedprox_tff.__version__}
  return own | {package: _version(package) for package in ('tensorflow', 'numpy')}


def difference(there: Mapping[str, str], needed: Mapping[str, str]) -> str:
  """Returns what a node has in another version, in a few words; empty if it has all as they are needed."""
  wrong = [package for package, version in needed.items() if there.get(package, MISSING) != version]
  return f'has {wrong[0]} {there.get(wrong[0], MISSING)}, and {needed[wrong[0]]} is needed' if wrong else ''


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return MISSING
