# SPDX-License-Identifier: Apache-2.0
"""What --help prints: the flags of a run by group, with what they may be and their defaults."""

import itertools
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from fedprox_tff.config.flags import FLAGS, Flag, defaults_of
from fedprox_tff.config.values import Parameter

_HEAD = """\
Trains a federated model and logs it: python -m fedprox_tff.run --mu=1 --stragglers=0.5

The defaults are the FedProx paper's setting for MNIST (1,000 clients, E = 20, batch 10, 10 clients a round) with mu = 1
and no stragglers. The same command again goes on where it stopped.
"""
_WIDTH = 140  # of a line
_FEW = 3  # names of data sets or methods that share a default
_TAIL = """\
Exit codes: 0 done, 2 bad input, 130 interrupted (the same command goes on), 1 anything else, also a run that diverged.
"""


class Row(NamedTuple):
  """What a table of flags says of one."""

  name: str
  users: tuple[str, ...]  # the methods, data sets, partitions or models that use it; () if every run does
  help: str  # what it does; behind the names of users, where it belongs to some
  allowed: str  # empty for any text
  default: str  # empty if there is none


def groups() -> list[tuple[str, list[Row]]]:
  """Returns all flags by their group, in the order of --help."""
  grouped = itertools.groupby(FLAGS.values(), key=lambda flag: flag.group)
  return [(group, [_row(flag) for flag in flags]) for group, flags in grouped]


def help_text() -> str:
  """Returns the text."""
  lines = [_HEAD]
  for group, rows in groups():
    lines.append(f'{group}:')
    for row in rows:
      lines += textwrap.wrap(_line(row), _WIDTH, subsequent_indent=' ' * 30, break_on_hyphens=False)
    lines.append('')
  return '\n'.join([*lines, _TAIL])


def _line(row: Row) -> str:
  allowed = f'; {row.allowed}' if row.allowed else ''
  default = f' [{row.default}]' if row.default else ''
  return f'  --{row.name:25} {row.help}{allowed}{default}'


def _row(flag: Flag) -> Row:
  owners = dict(flag.owners) or {'': flag.parameter}
  users = tuple(owners) if flag.owners else ()
  texts = {name: _lower(parameter.help) if name else parameter.help for name, parameter in owners.items()}
  allowed = {name: _allowed(parameter) for name, parameter in owners.items()}
  if len(set(allowed.values())) == 1:
    allowed = {'': allowed[next(iter(owners))]}
  return Row(flag.parameter.name, users, _by_users(texts), _by_users(allowed), _default(flag.parameter.name))


def _by_users(texts: Mapping[str, str]) -> str:
  """Returns texts behind the names that each is of, those of equal ones together."""
  users: dict[str, list[str]] = {}
  for name, text in texts.items():
    users.setdefault(text, []).append(name)
  return '; '.join(f'{", ".join(names)}: {text}' if names[0] else text for text, names in users.items())


def _lower(text: str) -> str:
  """Returns a sentence that begins in lower case, unless it begins with a symbol such as K."""
  return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _allowed(parameter: Parameter) -> str:
  any_text = parameter.kind is str and not parameter.choices and not parameter.table
  return '' if any_text else parameter.allowed()


def _default(key: str) -> str:
  names: dict[Any, list[str]] = {}
  for name, default in defaults_of(key).items():
    if default not in (None, ''):
      names.setdefault(default, []).append(name)
  if len(names) < 2:
    return ''.join(str(default) for default in names)
  common = max(names, key=lambda default: len(names[default]))
  rest = f'else {common}' if len(names[common]) > _FEW else None
  listed = [f'{", ".join(users)}: {default}' for default, users in names.items() if not rest or default != common]
  return '; '.join([*listed, rest] if rest else listed)
