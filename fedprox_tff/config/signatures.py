# SPDX-License-Identifier: Apache-2.0
"""A factory's parameters, out of its signature and its docstring; `core.choices` says what an annotation means."""

import functools
import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from fedprox_tff.config.values import Parameter
from fedprox_tff.core.choices import Factory, OneOf

_KINDS = (bool, int, float, str)


@functools.cache
def parameters(factory: Factory) -> Mapping[str, Parameter]:
  """Returns the keyword-only parameters of a factory by their names, in the order of its signature.

  Raises:
    TypeError: If an annotation is none of those that `core.choices` describes, or a parameter has no default.
  """
  hints = typing.get_type_hints(factory, include_extras=True)
  texts = _argument_texts(factory)
  keyword_only = [p for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
  return types.MappingProxyType({p.name: _parameter(factory, p, hints, texts) for p in keyword_only})


def _parameter(
  factory: Factory, parameter: inspect.Parameter, hints: Mapping[str, Any], texts: Mapping[str, str]
) -> Parameter:
  where = f'{factory.__module__}.{factory.__qualname__}: the parameter {parameter.name}'
  if parameter.default is parameter.empty:
    raise TypeError(f'{where} needs a default value.')
  if parameter.name not in hints:
    raise TypeError(f'{where} needs an annotation.')
  made = Parameter(parameter.name, str, parameter.default, texts.get(parameter.name, ''))
  annotation = _without_none(hints[parameter.name])
  extra = None
  if typing.get_origin(annotation) is typing.Annotated:
    annotation, extra = typing.get_args(annotation)
    annotation = _without_none(annotation)
  if isinstance(extra, OneOf):
    is_number = float in (annotation, *typing.get_args(annotation))
    return made._replace(kind=float if is_number else str, low=0 if is_number else None, table=extra.table)
  if typing.get_origin(annotation) is typing.Literal:
    choices = typing.get_args(annotation)
    return made._replace(kind=type(choices[0]), choices=choices)
  if annotation not in _KINDS:
    raise TypeError(f'{where} needs one of the annotations that fedprox_tff/core/choices.py names, not {annotation}.')
  low, high = extra or ((0, None) if annotation in (int, float) else (None, None))
  return made._replace(kind=annotation, low=low, high=high)


def _without_none(annotation: Any) -> Any:
  """Returns T of T | None."""
  if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
    rest = [each for each in typing.get_args(annotation) if each is not type(None)]
    return rest[0] if len(rest) == 1 else annotation
  return annotation


def _argument_texts(factory: Factory) -> dict[str, str]:
  """Returns the first sentence of each entry under "Args:" in a docstring."""
  _, _, arguments = (inspect.getdoc(factory) or '').partition('Args:\n')
  entries = re.findall(r'^ {2}(\w+): (.*(?:\n {4}.*)*)', arguments, re.MULTILINE)
  texts = {name: ' '.join(text.split()) for name, text in entries}
  return {name: re.split(r'(?<=[^.])(?<!i\.e)(?<!e\.g)[.;:] |\.$', text)[0] for name, text in texts.items()}
