# SPDX-License-Identifier: Apache-2.0
"""What has to be the same on all nodes of a cluster."""

import importlib.metadata
import sys
from collections.abc import Mapping

import fedprox_tff


def versions() -> dict[str, str]:
  """Returns the versions here of what decides about the bits of a result."""
  own = {'python': sys.version.split()[0], 'fedprox_tff': fedprox_tff.__version__}
  return own | {package: importlib.metadata.version(package) for package in ('tensorflow', 'numpy')}


def difference(there: Mapping[str, str], needed: Mapping[str, str]) -> str:
  """Returns what a node has that is another version, in a few words; empty if all are the same."""
  wrong = [package for package, version in needed.items() if there.get(package) != version]
  return f'has {wrong[0]} {there.get(wrong[0], "of no version")}, and {needed[wrong[0]]} is needed' if wrong else ''
