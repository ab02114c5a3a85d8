# SPDX-License-Identifier: Apache-2.0
"""The versions that all nodes of a cluster have to share; told without an import of TensorFlow."""

import importlib.metadata
import sys

import fedprox_tff

MISSING = 'missing'


def versions() -> dict[str, str]:
  """Returns the versions here of what decides about the bits of a result."""
  own = {'python': sys.version.split()[0], 'fedprox_tff': fedprox_tff.__version__}
  return own | {package: _version(package) for package in ('tensorflow', 'numpy')}


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return MISSING
