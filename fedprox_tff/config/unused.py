# SPDX-License-Identifier: Apache-2.0
"""Flags that a run has no use for: setting one by hand is a mistake, which is said with what would use it."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.config.choice import Choice, flags_of
from fedprox_tff.config.flags import CLIENT_OPTIMIZER, KINDS, SERVER_OPTIMIZER
from fedprox_tff.config.signatures import parameters
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.choices import Factory
from fedprox_tff.core.errors import UserError


def refuse_unused(kind: str, chosen: Choice | None, dataset: Choice, given: Mapping[str, Any]) -> None:
  """Refuses flags that belong to another choice of a kind than the chosen one.

  Args:
    kind: A key of `KINDS`.
    chosen: What the run has chosen; None of a partition if the data come split.
    dataset: The data set that it has chosen.
    given: The flags that were set by hand.

  Raises:
    UserError: If there is one; it says what uses the flag, and what the choice uses.
  """
  used = {} if chosen is None else chosen.flat().keys() | parameters(chosen.factory).keys()
  for key in given:
    if chosen is None and key == kind:
      raise UserError(f'--{key}={given[key]}: dataset {dataset.name} comes split over clients.')
    users = _users(kind, key)
    if not users or (chosen is not None and (key in used or key in _beside(kind, chosen.name))):
      continue
    if chosen is None:
      raise UserError(f'--{key}={given[key]}: dataset {dataset.name} comes split over clients.')
    for name, nested in _nested_users(chosen.factory, key):
      raise UserError(f'--{key}={given[key]}: only --{name}={nested} uses it.')
    others = f'{", ".join(users)} {"does" if len(users) == 1 else "do"}'
    listed = ', '.join(f'--{flag}' for flag in sorted(used)) or 'no flag of its own'
    why = _instead(key, chosen.name) if kind == 'algorithm' else ''
    raise UserError(f'--{key}={given[key]}: {kind} {chosen.name}{why} does not use it ({others}); it uses {listed}.')


@functools.cache  # for a grid asks this of each of its cells
def _users(kind: str, key: str) -> tuple[str, ...]:
  return tuple(
    name
    for name, factory in KINDS[kind].items()
    if key in _beside(kind, name) or any(parameter.name == key for parameter in flags_of(factory))
  )


def _nested_users(factory: Factory, key: str) -> Iterator[tuple[str, str]]:
  for parameter in parameters(factory).values():
    for name, nested in (parameter.table or {}).items():
      if any(inner.name == key for inner in flags_of(nested)):
        yield parameter.name, name


@functools.cache
def _beside(kind: str, name: str) -> Mapping[str, Parameter]:
  """Returns the flags of the optimizers that a method uses beside its own."""
  if kind != 'algorithm':
    return {}
  method = ALGORITHMS[name]()
  client = {} if method.needs.own_step_size else CLIENT_OPTIMIZER
  return client | ({} if method.server.update is not None else SERVER_OPTIMIZER)


def _instead(key: str, name: str) -> str:
  if key in CLIENT_OPTIMIZER and ALGORITHMS[name]().needs.own_step_size:
    return ', which finds its own step sizes,'
  if key in SERVER_OPTIMIZER:
    return ", which is a rule for the server's step,"
  return ''
