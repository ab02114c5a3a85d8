# SPDX-License-Identifier: Apache-2.0
"""The command line of tables: python analysis/table.py figure7 prints how the curves of a figure compare."""

import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

if not __package__:  # run as a file: Python put this folder on the path, where `numbers` would hide Python's own
  _HERE = pathlib.Path(__file__).resolve().parent
  sys.path[:] = [str(_HERE.parent), *(path for path in sys.path if path != str(_HERE))]

from analysis import arguments
from analysis.numbers.formats import FORMATS, Table, number, spread
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.errors import UserError
from fedprox_tff.machine.console import say

_WORDS = {'final': 'final', 'best': 'best', 'last_ten': 'mean of last ten'}
_FLAGS = (arguments.RESULTS_DIR, Parameter('format', str, 'text', 'how', choices=(*FORMATS, 'csv', 'curves')))
_HELP = f"""\
Prints final, best and mean-of-last-ten test accuracy of a figure's curves, mean and standard deviation over seeds; the
differences to the first curve, seed by seed, with their 95 % interval; and what the paper's rule for its gain of 22 %
gives. Of a comparison of methods: their ranking, with the values that the search chose for each and what the search
took; and the rounds, the gradients and the numbers sent that a target accuracy takes: python analysis/table.py FIGURE
[--flag=value ...]

FIGURE is
{arguments.WHAT}

  --results_dir=FOLDER  where runs are [results]
  --format=FORMAT       {', '.join(FORMATS)}, csv or curves [text]; csv has all numbers, unrounded; curves are the
                        figure's own, as CSV by round

What is missing is named on standard error.
"""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  return arguments.run(_print, argv, _FLAGS, _HELP)


def _print(given: Mapping[str, Any], words: list[str]) -> None:
  what = arguments.sort(words)
  form, folder = given.get('format', 'text'), arguments.results_dir(given)
  if what.comparisons:
    _print_rankings(what.comparisons, form, folder)
  elif what.runs or len(what.figures) != 1:
    raise UserError(f'{", ".join(words)} is not one figure; there are {arguments.NAMES}.')
  else:
    _print_table(what.figures, words, form, folder)


def _print_table(paths: Sequence[pathlib.Path], words: Sequence[str], form: str, folder: pathlib.Path) -> None:
  from analysis.numbers import paper_gain, scores

  [(name, figure, cells, notes)] = arguments.filled(paths, words, folder)
  for note in notes:
    say(f'{name}: {arguments.plain(note)}', stream=sys.stderr)
  if form == 'csv':
    say(scores.score_table(cells, figure.baseline, figure.score).to_csv(index=False), end='')
  elif form == 'curves':
    say(scores.curve_table(figure, cells).to_csv(float_format='%.5g'), end='')
  else:
    table = scores.score_table(cells, figure.baseline, figure.score)
    made = [_scores(table, name, figure.score), _differences(table, name, figure.baseline)]
    made += paper_gain.tables(figure, cells)
    say('\n\n'.join(FORMATS[form](each) for each in made))


def _print_rankings(paths: Sequence[pathlib.Path], form: str, folder: pathlib.Path) -> None:
  from analysis.numbers import ranking, ranking_words, scores
  from analysis.read import comparisons

  if form == 'curves' and len(paths) > 1:
    raise UserError(f'--format=curves: one comparison at a time, such as {paths[0].stem}.')
  made = []
  for path, comparison, notes in comparisons.filled(paths, folder):
    for note in notes:
      say(f'{path.stem}: {arguments.plain(note)}', stream=sys.stderr)
    if form == 'curves':
      made.append(scores.curve_table(comparison.figure, comparison.cells).to_csv(float_format='%.5g').rstrip('\n'))
      continue
    table = ranking.ranking(comparison)
    if form == 'csv':
      made.append(table.assign(comparison=path.stem).to_csv(index=False, header=not made).rstrip('\n'))
    else:
      made += [FORMATS[form](each) for each in ranking_words.tables(comparison, table)]
  say(('\n' if form == 'csv' else '\n\n').join(made))


def _scores(table: Any, name: str, accuracy: str) -> Table:
  from fedprox_tff.training.columns import TEST_ACCURACY  # --help has no time for what this imports

  whose = '' if accuracy == TEST_ACCURACY.name else ' of the models that serve the clients'
  title = f'{name}: test accuracy{whose} in percent, mean ± standard deviation over seeds'
  rows = [
    [row['panel'], row['curve'], str(row['seeds']), *(spread(row[f'{s}_mean'], row[f'{s}_std']) for s in _WORDS)]
    for row in table.to_dict('records')
  ]
  return Table(title, ['panel', 'curve', 'seeds', *_WORDS.values()], rows, labels=2)


def _differences(table: Any, name: str, baseline: str) -> Table:
  first = arguments.plain(baseline)
  title = f'{name}: difference to {first} in points of percent, seed by seed: mean ± standard deviation [95 % interval]'
  rows = []
  for row in table.to_dict('records'):
    if row['curve'] != row['partner']:
      curve = row['curve'] if row['partner'] == first else f'{row["curve"]}, to {row["partner"]}'
      rows.append([row['panel'], curve, str(int(row['pairs'])), *(_difference(row, score) for score in _WORDS)])
  return Table(title, ['panel', 'curve', 'pairs', *_WORDS.values()], rows, labels=2)


def _difference(row: Any, score: str) -> str:
  mean, std, low, high = (row[f'{score}_diff_{key}'] for key in ('mean', 'std', 'low', 'high'))
  interval = f' [{number(low, "+")}, {number(high, "+")}]' if not math.isnan(low) else ''
  return f'{spread(mean, std, "+")}{interval}'


if __name__ == '__main__':
  sys.exit(main())
