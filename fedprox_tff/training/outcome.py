# SPDX-License-Identifier: Apache-2.0
"""What became of a run, from its rows alone: whether it trained, or diverged or stood still, and from which round on.

A single round without a step is an accident that the next one mends. Ten in a row, or a loss that is not a number at
the end, are a result that nobody should take for that of the method.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedprox_tff.training import columns

_IN_A_ROW = 10  # rounds without a step of the server that are no accident
_SMALLER_STEPS = (
  'try a smaller --learning_rate or --server_learning_rate, or a larger epsilon or --tau of an adaptive server'
)
_NOT_ALL_LATE = 'try --straggler_policy=partial or fewer --stragglers'

Rows = Sequence[Mapping[str, float]]


class Trouble(NamedTuple):
  """Why a run's result is not that of training."""

  mark: str  # a few words for a table
  text: str  # one sentence: what happened, from which round on, and what to try


def trouble(rows: Rows) -> Trouble | None:
  """Returns what went wrong in a run, by its rows from round 0 on; None if nothing did."""
  return _standstill(rows) or _divergence(rows)


def is_evaluated(row: Mapping[str, float]) -> bool:
  """Returns whether the global model was evaluated in a round."""
  return not all(math.isnan(row.get(column.name, math.nan)) for column in columns.EVALUATION)


def _standstill(rows: Rows) -> Trouble | None:
  """Looks for rounds in a row in which the server took no step: ten, or all that there are."""
  trained = [row for row in rows if row[columns.ROUND_NUM.name] > 0]
  for skipped, group in itertools.groupby(trained, key=lambda row: row.get(columns.COHORT_SKIPPED.name, 0) > 0):
    stretch = list(group)
    if not skipped or len(stretch) < min(_IN_A_ROW, len(trained)):
      continue
    first, last = (int(row[columns.ROUND_NUM.name]) for row in (stretch[0], stretch[-1]))
    rounds = f'in round {first}' if first == last else f'from round {first} to round {last}'
    if not any(row[columns.COHORT_STEPS.name] for row in stretch):
      text = f'the run stood still {rounds}, since all clients were dropped or had no examples; {_NOT_ALL_LATE}'
      return Trouble(f'stood still from round {first}', text)
    text = f'the run diverged: {rounds} the server took no step, since none led to finite weights; {_SMALLER_STEPS}'
    return Trouble(f'diverged in round {first}', text)
  return None


def _divergence(rows: Rows) -> Trouble | None:
  """Looks for a training loss that is not finite in the end."""
  first = None
  for row in rows:
    if is_evaluated(row):
      finite = math.isfinite(row[columns.TRAIN_LOSS.name])
      first = None if finite else first or row
  if first is None:
    return None
  round_num = int(first[columns.ROUND_NUM.name])
  what = f'the run diverged: its training loss is not finite from round {round_num} on'
  return Trouble(f'diverged in round {round_num}', f'{what}; {_SMALLER_STEPS}')
