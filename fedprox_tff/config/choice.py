# SPDX-License-Identifier: Apache-2.0
"""A choice of a run: a name and its arguments, nested in the record and in config.json, flat on the command line."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from fedprox_tff.config.signatures import parameters
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.choices import Factory

_NAME = 'name'  # the key of a choice's name in config.json


@dataclasses.dataclass(frozen=True)
class Choice:
  """The name of a factory, and a value for each of its parameters; a value may be a choice itself."""

  name: str
  values: tuple[tuple[str, Any], ...]  # (parameter, value), in the order of the signature
  factory: Factory = dataclasses.field(compare=False, repr=False)

  @property
  def arguments(self) -> dict[str, Any]:
    """The values by the names of their parameters."""
    return dict(self.values)

  def build(self) -> Any:
    """Returns the record that the factory makes of the values."""
    return self.factory(**{key: v.build() if isinstance(v, Choice) else v for key, v in self.values})

  def flat(self) -> dict[str, Any]:
    """Returns the value of each flag that this choice uses, but for its own name; a choice in it by its name."""
    flat = {}
    for key, value in self.values:
      if isinstance(value, Choice):
        flat |= {key: value.name, **value.flat()}
      elif value is not None:
        flat[key] = value
    return flat

  def record(self) -> dict[str, Any]:
    """Returns what stands in config.json."""
    nested = {key: value.record() if isinstance(value, Choice) else value for key, value in self.values}
    return {_NAME: self.name, **nested}

  def differing(self) -> dict[str, Any]:
    """Returns the flags of this choice, as `flat`, whose values are not the defaults of its name."""
    default = choose(self.factory, self.name, {}).flat()
    return {key: value for key, value in self.flat().items() if default.get(key) != value}


def choose(factory: Factory, name: str, given: Mapping[str, Any]) -> Choice:
  """Returns the choice of a factory, with the values that flags give its parameters, else their defaults.

  Args:
    factory: The chosen entry of a table.
    name: Its name.
    given: Values by flag, text or numbers. Those of flags that the choice does not use are not read.

  Raises:
    UserError: If a value is not allowed.
  """
  values = {p.name: _value(p, given) for p in parameters(factory).values()}
  return Choice(name, tuple(values.items()), factory)


def _value(parameter: Parameter, given: Mapping[str, Any]) -> Any:
  value = default_of(parameter)
  if given.get(parameter.name) is not None:
    value = parameter.parse(given[parameter.name])
  if parameter.table and value in parameter.table:
    return choose(parameter.table[value], value, given)
  return value


def default_of(parameter: Parameter) -> Any:
  """Returns the default that a flag could set: of a record in the place of a choice its name."""
  return getattr(parameter.default, 'name', parameter.default) if parameter.table else parameter.default


def flags_of(factory: Factory) -> Iterator[Parameter]:
  """Yields all parameters that the choice of a factory may use: its own, and those of choices among its values."""
  for parameter in parameters(factory).values():
    yield parameter
    for nested in (parameter.table or {}).values():
      yield from flags_of(nested)


def from_record(record: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
  """Returns the name and the flags of a choice that stands in config.json."""
  flat = {}
  for key, value in record.items():
    if isinstance(value, Mapping):
      flat[key], nested = from_record(value)
      flat |= nested
    elif key != _NAME and value is not None:
      flat[key] = value
  return record[_NAME], flat
