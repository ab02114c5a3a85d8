# SPDX-License-Identifier: Apache-2.0
"""One flag's value: from text to its type, within its range, or one line that says what is allowed."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from fedprox_tff.config import optimizers
from fedprox_tff.core.errors import UserError


def flag(default: Any, group: str, text: str, *, choices=(), low=None, high=None, word=None) -> Any:
  """Returns a dataclass field that is a flag.

  Args:
    default: The default; None where it depends on the data set or the algorithm.
    group: The heading in --help.
    text: What it does, for --help.
    choices: The allowed values, if they are few.
    low: The smallest allowed number.
    high: The largest allowed number.
    word: A word that may stand in the place of a number.
  """
  metadata = {'group': group, 'help': text, 'choices': tuple(choices), 'low': low, 'high': high, 'word': word}
  return dataclasses.field(default=default, metadata=metadata)


def parse(field: dataclasses.Field, value: Any) -> Any:
  """Returns a flag's value in its field's type.

  Raises:
    UserError: If it is not of that type, not in range or not one of the choices.
  """
  if field.metadata['word'] is not None and value == field.metadata['word']:
    return value
  allowed = describe(field)
  try:
    parsed = _convert(field.type, value)
    _check(field.metadata, parsed)
    if field.name.endswith('_optimizer'):
      optimizers.parse(parsed)
  except optimizers.OptimizerError as error:
    raise UserError(f'--{field.name}={value}: {error} is needed.') from None
  except ValueError:
    raise UserError(f'--{field.name}={value}: {allowed} is needed.') from None
  return parsed


def describe(field: dataclasses.Field) -> str:
  """Returns what a flag may be, such as "a whole number of at least 1"."""
  meta = field.metadata
  if meta['choices']:
    return 'one of ' + ', '.join(str(choice) for choice in meta['choices'] if choice != '')
  kind = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}[field.type]
  if meta['high'] is not None:
    return f'{kind} from {meta["low"]} to {meta["high"]}'
  text = kind if meta['low'] is None else f'{kind} of at least {meta["low"]}'
  return f'{text} or the word {meta["word"]}' if meta['word'] else text


def _convert(kind: type, value: Any) -> Any:
  """Converts text and numbers; a bool is no number, and 1.5 is no whole one."""
  if kind in (bool, str):
    exact = isinstance(value, kind)
  else:
    exact = not isinstance(value, bool) and not (kind is int and isinstance(value, float))
  if not exact:
    raise ValueError(value)
  return kind(value)


def _check(meta: Mapping[str, Any], value: Any) -> None:
  if meta['choices'] and value not in meta['choices']:
    raise ValueError(value)
  if isinstance(value, float) and not math.isfinite(value):
    raise ValueError(value)
  if meta['low'] is not None and value < meta['low']:
    raise ValueError(value)
  if meta['high'] is not None and value > meta['high']:
    raise ValueError(value)
