# SPDX-License-Identifier: Apache-2.0
"""What --help prints: our flags only, by group, with what they may be and their defaults."""

import dataclasses
import itertools
import textwrap
from typing import Any

from fedprox_tff.config.record import Config
from fedprox_tff.config.values import describe

_HEAD = """\
Trains a federated model and logs it: python -m fedprox_tff.run --mu=1 --stragglers=0.5

The defaults are the FedProx paper's setting for MNIST (1,000 clients, E = 20, batch 10, 10 clients a round) with mu = 1
and no stragglers. The same command again goes on where it stopped.
"""
_WIDTH = 140  # of a line
_FEW = 3  # names of data sets or algorithms that share a default
_TAIL = """\
Exit codes: 0 done, 2 bad input, 130 interrupted (the same command goes on), 1 anything else.
"""


def help_text() -> str:
  """Returns the text."""
  lines = [_HEAD]
  for group, fields in itertools.groupby(dataclasses.fields(Config), key=lambda field: field.metadata['group']):
    lines.append(f'{group}:')
    for field in fields:
      allowed = '' if field.type is str and not field.metadata['choices'] else f'; {describe(field)}'
      line = f'  --{field.name:25} {field.metadata["help"]}{allowed}{_default(field)}'
      lines += textwrap.wrap(line, _WIDTH, subsequent_indent=' ' * 30, break_on_hyphens=False)
    lines.append('')
  return '\n'.join([*lines, _TAIL])


def _default(field: dataclasses.Field) -> str:
  if field.default is not None:
    return f' [{field.default}]' if field.default != '' else ''
  defaults = Config.defaults_of(field.name)
  names: dict[Any, list[str]] = {}
  for name, default in defaults.items():
    names.setdefault(default, []).append(name)
  if len(names) < 2:
    return ''.join(f' [{default}]' for default in names)
  common = max(names, key=lambda default: len(names[default]))
  rest = f'else {common}' if len(names[common]) > _FEW else None
  listed = [f'{", ".join(users)}: {default}' for default, users in names.items() if not rest or default != common]
  return f' [{"; ".join([*listed, rest] if rest else listed)}]'
