# SPDX-License-Identifier: Apache-2.0
"""A ranking of methods in words: a table for each panel, and a sentence for each of its columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.arguments import plain
from analysis.numbers import scores
from analysis.numbers.formats import MISSING, Table, amount, number, spread
from analysis.numbers.ranking import SCORE, SPENT
from analysis.numbers.to_target import WINDOW
from analysis.read.comparisons import Comparison
from fedprox_tff.sweeps.search import Choice
from fedprox_tff.training.columns import TEST_ACCURACY

# The accuracies that stand beside the one that ranks: how columns are headed, and whose they are.
_OWN, _GLOBAL = 'own models', 'global model'
_SPENT = {'gradients': 'gradients', 'floats': 'numbers sent'}


def tables(comparison: Comparison, table: pd.DataFrame) -> Iterator[Table]:
  """Yields a table for each panel from what `ranking.ranking` returns; the first one says what the columns are."""
  beside = _beside(comparison, table)
  target = f'{100 * comparison.target:g} %'
  found = {
    (cell.panel, plain(cell.curve)): choice for cell, choice in zip(comparison.cells, comparison.choices, strict=True)
  }
  legend = _legend(comparison, target, beside)
  for panel, rows in table.groupby('panel', sort=False):
    first = next(plain(cell.curve) for cell in comparison.cells if cell.panel == panel)
    header = ['rank', 'method', 'chosen', 'search', 'seeds', 'accuracy', f'difference to {first}']
    header += [f'{what} to {target}' for what in ('rounds', *(_SPENT[name] for name in SPENT))]
    header += ['training loss', *beside.values()]
    body = [_words(row, found[panel, row['curve']], first, beside) for row in rows.to_dict('records')]
    yield Table(f'{comparison.name}, {panel}: {_title(comparison)}', header, body, labels=4, legend=legend)
    legend = ()


def chosen_in_words(choice: Choice) -> str:
  """Returns 'learning rate 10 (end: limit), beta 0.1', and behind it the note on a value at an end, if there is one."""
  words = []
  for flag, value in choice.values.items():
    end = f' (end: {choice.ends[flag]})' if flag in choice.ends else ''
    words.append(f'{flag.replace("_", " ")} {value:g}{end}')
  note = f'; {choice.trial.note}' if choice.trial.note and choice.ends else ''
  return ', '.join(words) + note


def budget_in_words(choice: Choice) -> str:
  """Returns '14 runs, 310 k steps'."""
  return f'{choice.runs} run{"" if choice.runs == 1 else "s"}, {amount(choice.local_steps)} steps'


def _title(comparison: Comparison) -> str:
  if comparison.ranked_by == TEST_ACCURACY.name:
    return 'methods ranked by test accuracy'
  return "methods ranked by the test accuracy of clients' own models"


def _beside(comparison: Comparison, table: pd.DataFrame) -> dict[str, str]:
  """Returns the heading of the other accuracy's column by its name in a ranking; nothing if no method has it."""
  name, heading = ('own', _OWN) if comparison.ranked_by == TEST_ACCURACY.name else ('global', _GLOBAL)
  return {name: heading} if table[f'{name}_mean'].notna().any() else {}


def _legend(comparison: Comparison, target: str, beside: Mapping[str, str]) -> Sequence[str]:
  """Returns a sentence or a few for each column."""
  last = f'the mean of the last {scores.LAST} evaluated rounds of each run'
  accuracy = f'accuracy: the test accuracy in percent, {last}, as mean ± standard deviation over the seeds. '
  if comparison.ranked_by != TEST_ACCURACY.name:
    accuracy = (
      f"accuracy: the test accuracy in percent of clients' own models on their own examples, {last}, as mean ± "
    )
    accuracy += 'standard deviation over the seeds. Where a method gives clients no models of their own, it is that of '
    accuracy += 'the global model, which serves them. '
  sentences = [
    'chosen: the values that the search found. "end: limit" means that a value is the lowest or highest that the '
    'search may try, and "end: budget" that the search had used up its budget before it could look beyond.',
    'search: how many runs the search made, and how many local steps they took, all clients together.',
    'seeds: the number of finished runs.',
    f'{accuracy}The methods are ranked by it.',
    'difference: in points of percent, between runs with the same seed, as mean and 95 % interval. It is that to the '
    'method in the heading, unless the row names another one.',
    f'rounds to {target}: the first round from which on the mean accuracy of {WINDOW} evaluated rounds in a row is at '
    f'least {target} and stays there to the end of the run. It is the first of those {WINDOW} rounds; mean ± standard '
    'deviation of the seeds that get there, and in parentheses how many do.',
    f'gradients to {target}: how many gradients of batches all clients together computed up to this round; mean of the '
    'same seeds.',
    f'numbers sent to {target}: how many numbers the server and the clients sent each other up to this round, in both '
    'directions; mean of the same seeds.',
    f"training loss: of the global model, over all clients' training examples, {last}.",
  ]
  if _OWN in beside.values():
    sentences.append(f"{_OWN}: test accuracy in percent of clients' own models on their own examples, {last}.")
  if _GLOBAL in beside.values():
    sentences.append(f'{_GLOBAL}: its test accuracy in percent, {last}.')
  return [*sentences, 'k, M and G are thousands, millions and billions. A dash means that there is no such number.']


def _words(row: Mapping[str, Any], choice: Choice | None, first: str, beside: Mapping[str, str]) -> Sequence[str]:
  search = [chosen_in_words(choice), budget_in_words(choice)] if choice else [MISSING] * 2
  words = [str(row['rank']), row['curve'], *search, str(row['seeds'])]
  words += [spread(row[f'{SCORE}_mean'], row[f'{SCORE}_std']), _difference(row, first)]
  words += [_rounds(row), *(amount(row[f'{name}_mean']) for name in SPENT), _loss(row)]
  return words + [spread(row[f'{name}_mean'], row[f'{name}_std']) for name in beside]


def _difference(row: Mapping[str, Any], first: str) -> str:
  mean, low, high = (row[f'{SCORE}_diff_{key}'] for key in ('mean', 'low', 'high'))
  if np.isnan(mean):
    return MISSING
  interval = f' [{number(low, "+")}, {number(high, "+")}]' if not np.isnan(low) else ''
  other = f' to {row["partner"]}' if row['partner'] != first else ''
  return f'{number(mean, "+")}{interval}{other}'


def _rounds(row: Mapping[str, Any]) -> str:
  if not row['seeds']:
    return MISSING
  deviation = f' ± {row["rounds_std"]:.1f}' if row['reached'] > 1 else ''
  mean = f'{row["rounds_mean"]:.1f}{deviation}' if row['reached'] else MISSING
  return f'{mean} ({row["reached"]}/{row["seeds"]})'


def _loss(row: Mapping[str, Any]) -> str:
  mean, std = row['loss_mean'], row['loss_std']
  if not row['seeds']:
    return MISSING
  if not np.isfinite(mean):
    return 'diverged'
  return f'{mean:.3g} ± {std:.2g}' if np.isfinite(std) else f'{mean:.3g}'
