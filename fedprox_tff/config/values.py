# SPDX-License-Identifier: Apache-2.0
"""One value: what it may be, and from text to its type, or one line that says what is allowed."""

import math
import re
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

from fedprox_tff.core.choices import Factory
from fedprox_tff.core.errors import UserError

_KINDS = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}

# Python takes digits of any script, spaces around them and underscores in them, which are more often a slip.
_NUMBERS = {int: r'-?[0-9]+', float: r'-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?'}
_CONTROL = re.compile(r'[\x00-\x1f\x7f]')

_MOST_SHOWN = 200  # characters of a value in a message

# All computing is in float32, where smaller numbers are 0 to XLA and larger ones infinite.
_SMALLEST, _LARGEST = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127


class Parameter(NamedTuple):
  """A value that a flag sets.

  Attributes:
    name: The flag's name, without dashes.
    kind: bool, int, float or str; of a choice's name str, of a number or a name float.
    default: The value if nobody sets it. None: the run does not say, or takes it from what it belongs to.
    help: What it does, in a few words.
    choices: The allowed values, if they are few.
    low: The smallest allowed number.
    high: The largest allowed number.
    table: The factories that the value can name.
    words: Text that may stand in the place of a number; of a choice's name, what else may stand there.
    aliases: Other names of entries of the table, which are read as those entries' own.
  """

  name: str
  kind: type
  default: Any = None
  help: str = ''
  choices: tuple[Any, ...] = ()
  low: float | None = None
  high: float | None = None
  table: Mapping[str, Factory] | None = None
  words: tuple[str, ...] = ()
  aliases: Mapping[str, str] = types.MappingProxyType({})

  def parse(self, value: Any) -> Any:
    """Returns text, or a value of a TOML file, in the parameter's type; a name of the table stays text.

    Raises:
      UserError: If it is not of that type, not in range or not one of the choices.
    """
    if isinstance(value, str):
      value = self.aliases.get(value, value)
      if value in self.words or value in (self.table or ()):
        return value
    try:
      parsed = _convert(self.kind, value)
      self._check(parsed)
    except (ValueError, OverflowError):
      raise UserError(f'--{self.name}={_shown(value)}: {self.allowed()} is needed.') from None
    if isinstance(parsed, float) and parsed and not _SMALLEST <= abs(parsed) <= _LARGEST:
      raise UserError(
        f'--{self.name}={_shown(value)}: in float32, which runs compute in, this is '
        f'{"0" if abs(parsed) < 1 else "infinite"}; 0 or a number from 1.2e-38 to 3.4e38 is needed.'
      )
    return parsed

  def allowed(self) -> str:
    """Returns what the value may be, such as "a whole number of at least 1"."""
    if self.choices or (self.table and self.kind is str):
      listed = 'one of ' + ', '.join(str(choice) for choice in self.choices or self.table if choice != '')
      return ' or '.join([listed, *self.words, *(f'{alias} for {name}' for alias, name in self.aliases.items())])
    text = 'text of at least one character, and of no control characters,' if self.kind is str else _KINDS[self.kind]
    if self.high is not None:
      text = f'{text} from {self.low} to {self.high}'
    elif self.low is not None:
      text = f'{text} of at least {self.low}'
    words = [*self.words, *(self.table or ())]
    return f'{text} or the word {" or ".join(words)}' if words else text

  def _check(self, value: Any) -> None:
    wrong = (
      (self.table is not None and self.kind is str)
      or (value == '' and not self.choices)
      or (self.choices and value not in self.choices)
      or (isinstance(value, float) and not math.isfinite(value))
      or (self.low is not None and value < self.low)
      or (self.high is not None and value > self.high)
    )
    if wrong:
      raise ValueError(value)


def _convert(kind: type, value: Any) -> Any:
  """Converts text and numbers; a bool is no number, and 1.5 is no whole one."""
  if kind in (bool, str):
    exact = isinstance(value, kind)
  else:
    exact = not isinstance(value, bool) and not (kind is int and isinstance(value, float))
  if not exact or (kind in _NUMBERS and isinstance(value, str) and not re.fullmatch(_NUMBERS[kind], value)):
    raise ValueError(value)
  if kind is str and _CONTROL.search(value):
    raise ValueError(value)
  return kind(value) + 0.0 if kind is float else kind(value)  # -0.0 is 0.0, and one name


def _shown(value: Any) -> str:
  """Returns a value as it is said in one line."""
  text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], str(value))
  return text if len(text) <= _MOST_SHOWN else f'{text[:_MOST_SHOWN]}...'
