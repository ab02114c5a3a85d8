# SPDX-License-Identifier: Apache-2.0
"""Flags out of the signatures of algorithms, so that a new method's parameters need no line elsewhere.

A keyword-only parameter is a flag of its name. Its annotation says what is allowed: `float` and `int` at least 0,
`Annotated[float, (low, high)]` a range (high may be None), `Literal[...]` one of a few, `bool` true or false. The first
sentence that the docstring has on it is its help, behind the names of the algorithms that use it.
"""

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fedprox_tff.config.values import flag


def own_flags(
  factories: Mapping[str, Callable[..., Any]], group: str, known: Mapping[str, Any]
) -> Iterator[tuple[str, type, dataclasses.Field]]:
  """Yields name, type and dataclass field of each flag; of a name that several factories have, the first one's.

  Args:
    factories: Functions with keyword-only parameters, by their names.
    group: The heading in --help.
    known: Flags that are there already, by name.
  """
  users: dict[str, list[str]] = {}
  first: dict[str, tuple[inspect.Parameter, str]] = {}
  for name, factory in factories.items():
    texts = _argument_texts(factory)
    for parameter in inspect.signature(factory).parameters.values():
      if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in known:
        users.setdefault(parameter.name, []).append(name)
        first.setdefault(parameter.name, (parameter, texts.get(parameter.name, '')))
  for name, (parameter, text) in first.items():
    yield (name, *_field(parameter, group, f'{", ".join(users[name])}: {text[:1].lower() + text[1:]}'))


def _field(parameter: inspect.Parameter, group: str, text: str) -> tuple[type, dataclasses.Field]:
  annotation, limits, choices = parameter.annotation, (None, None), ()
  if typing.get_origin(annotation) is typing.Literal:
    choices = typing.get_args(annotation)
    annotation = type(choices[0])
  elif typing.get_origin(annotation) is typing.Annotated:
    annotation, limits = typing.get_args(annotation)
  elif annotation in (int, float):
    limits = (0, None)
  if annotation not in (bool, int, float, str):
    raise TypeError(f'The parameter {parameter} needs one of the annotations that own_flags.py names.')
  low, high = limits
  return annotation, flag(None, group, text, choices=choices, low=low, high=high)


def _argument_texts(factory: Callable[..., Any]) -> dict[str, str]:
  """Returns the first sentence of each entry under "Args:" in a docstring."""
  _, _, arguments = (inspect.getdoc(factory) or '').partition('Args:\n')
  entries = re.findall(r'^ {2}(\w+): (.*(?:\n {4}.*)*)', arguments, re.MULTILINE)
  texts = {name: ' '.join(text.split()) for name, text in entries}
  return {name: re.split(r'(?<=[^.])[.;:] |\.$', text)[0] for name, text in texts.items()}
