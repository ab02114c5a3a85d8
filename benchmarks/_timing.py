# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: clocks that other work on the machine disturbs little, and Markdown tables."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_TURN_SECONDS = 0.5


class Measured(NamedTuple):
  """What a contender took, by a clock of its own choice, and what came out."""

  seconds: float
  result: Any


Contender = Callable[[], Measured]


def timed(function: Callable[..., Any], *arguments: Any) -> Measured:
  """Calls a function with the clock running."""
  start = time.perf_counter()
  result = function(*arguments)
  return Measured(time.perf_counter() - start, result)


def best_of(
  contenders: Mapping[str, Contender], turns: int, turn_seconds: float = _TURN_SECONDS
) -> dict[str, Measured]:
  """Returns the fastest go of each contender.

  They take turns, so that a slow minute of the machine meets all of them; a turn before the first warms up. A turn is
  as many goes as fill its seconds: other work disturbs most of a fast contender's.
  """
  for contender in contenders.values():
    contender()
  goes = {name: [] for name in contenders}
  for _ in range(turns):
    for name, contender in contenders.items():
      goes[name] += _goes(contender, turn_seconds)
  return {name: min(measured, key=lambda go: go.seconds) for name, measured in goes.items()}


def _goes(contender: Contender, left: float) -> Iterator[Measured]:
  while True:
    measured = contender()
    yield measured
    left -= measured.seconds
    if left <= 0:
      return


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
  """Prints a Markdown table, each row as soon as it is there."""
  print(f'| {" | ".join(columns)} |\n|{" --- |" * len(columns)}', flush=True)
  for row in rows:
    print(f'| {" | ".join(row)} |', flush=True)
