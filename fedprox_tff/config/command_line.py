# SPDX-License-Identifier: Apache-2.0
"""Command lines of flags, read by absl: --rounds=3, --rounds 3, --dry_run, --nodry_run."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import flags as absl_flags

from fedprox_tff.config.values import Parameter
from fedprox_tff.core.errors import UserError

_HELP = tuple(dashes + word for dashes in ('-', '--') for word in ('h', 'help', 'helpfull', 'helpshort'))
_OF_ABSL = ('flagfile', 'undefok')  # which would let a typo pass


def parse(arguments: Sequence[str], flags: Iterable[Parameter]) -> tuple[dict[str, Any], list[str]]:
  """Returns the flags that a command line sets, by name, and its words that are neither flags nor their values.

  A switch is set to a bool, any other flag to its text: `Parameter.parse` checks that, and says what is allowed.

  Args:
    arguments: The command line without the program's name.
    flags: The flags that it may have.

  Raises:
    UserError: If it has another flag, or one without its value.
  """
  for word in arguments:
    if word.startswith('-') and word.lstrip('-').partition('=')[0] in _OF_ABSL:
      raise UserError(f'{word.partition("=")[0]} is not a flag; see --help.')
  flags = list(flags)
  values = absl_flags.FlagValues()
  values.set_gnu_getopt()  # flags may stand behind other words
  for flag in flags:
    define = absl_flags.DEFINE_boolean if flag.kind is bool else absl_flags.DEFINE_string
    define(flag.name, None, flag.help, flag_values=values)
  try:
    _, *words = values(['', *arguments])
  except absl_flags.Error as error:
    raise UserError(_in_our_words(str(error).splitlines()[0], {flag.name: flag for flag in flags})) from None
  except ValueError as error:  # of --nodry_run=yes
    raise UserError(f'{error}.') from None
  return {name: values[name].value for name in values if values[name].present}, words


def _in_our_words(said: str, flags: Mapping[str, Parameter]) -> str:
  """Returns what absl said of a command line as every other flag's value is refused."""
  if match := re.match(r"flag --(\w+)=(.*): \('Non-boolean", said):
    return f'--{match[1]}={match[2]}: true or false is needed.'
  match = re.match(r'Missing value for flag -*(\w+)', said)
  if match and match[1] in flags:
    return f'--{match[1]}: a value is needed, {flags[match[1]].allowed()}: --{match[1]}=...'
  return f'{said} See --help.'


def asks_for_help(arguments: Sequence[str], flags: Iterable[Parameter]) -> bool:
  """Returns whether a command line asks for help, whatever else is wrong with it.

  Args:
    arguments: The command line without the program's name.
    flags: The flags that it may have: in `--name -h`, -h is a name.
  """
  valued = {flag.name for flag in flags if flag.kind is not bool}
  words = iter(arguments)
  for word in words:
    if word == '--':
      return False
    if word in _HELP:
      return True
    if word.startswith('-') and word.lstrip('-') in valued:
      next(words, None)
  return False
