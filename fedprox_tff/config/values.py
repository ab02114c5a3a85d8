# SPDX-License-Identifier: Apache-2.0
"""One value: what it may be, and from text to its type, or one line that says what is allowed."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from fedprox_tff.core.choices import Factory
from fedprox_tff.core.errors import UserError

_KINDS = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}


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
    words: Text that may stand in the place of a number.
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

  def parse(self, value: Any) -> Any:
    """Returns text, or a value of a TOML file, in the parameter's type; a name of the table stays text.

    Raises:
      UserError: If it is not of that type, not in range or not one of the choices.
    """
    if isinstance(value, str) and (value in self.words or value in (self.table or ())):
      return value
    try:
      parsed = _convert(self.kind, value)
      self._check(parsed)
    except (ValueError, OverflowError):
      raise UserError(f'--{self.name}={value}: {self.allowed()} is needed.') from None
    return parsed

  def allowed(self) -> str:
    """Returns what the value may be, such as "a whole number of at least 1"."""
    if self.choices or (self.table and self.kind is str):
      return 'one of ' + ', '.join(str(choice) for choice in self.choices or self.table if choice != '')
    text = _KINDS[self.kind]
    if self.high is not None:
      text = f'{text} from {self.low} to {self.high}'
    elif self.low is not None:
      text = f'{text} of at least {self.low}'
    words = [*self.words, *(self.table or ())]
    return f'{text} or the word {" or ".join(words)}' if words else text

  def _check(self, value: Any) -> None:
    wrong = (
      (self.table is not None and self.kind is str)
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
  if not exact:
    raise ValueError(value)
  return kind(value)
