# SPDX-License-Identifier: Apache-2.0
"""The command line of tables: python analysis/table.py figure7 prints how the curves of a figure compare."""

import argparse
import math
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

if not __package__:  # run as a file: Python put this folder on the path, whose `numbers` would hide Python's own
  sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from analysis import arguments
from analysis.numbers.formats import FORMATS, MISSING, Table, number, spread
from fedprox_tff.core.errors import UserError

DONE, BAD_INPUT = 0, 2
_WORDS = {'final': 'final', 'best': 'best', 'last_ten': 'mean of last ten'}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  given = _parse(argv)
  try:
    paths = arguments.comparisons([given.what])
    names, runs = ([], []) if paths else arguments.figures_or_runs([given.what])
    if not paths and (runs or len(names) != 1):
      raise UserError(f'{given.what} is not one figure; there are {arguments.NAMES}.')
    if paths:
      _print_rankings(paths, given)
    else:
      _print_table(names, given)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return BAD_INPUT
  return DONE


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python analysis/table.py',
    description="Prints final, best and mean-of-last-ten test accuracy of a figure's curves, mean and standard "
    'deviation over seeds; the differences to the first curve, seed by seed, with their 95 % interval; and what the '
    "paper's rule for its gain of 22 % gives. Of a comparison of methods: their ranking, with the value that each "
    'chose, and the rounds that a target accuracy takes.',
    epilog='What is missing is named on standard error.',
    allow_abbrev=False,
  )
  parser.add_argument('what', metavar='FIGURE', help=f'one of the figures: {arguments.NAMES}')
  arguments.add_results_dir(parser)
  parser.add_argument(
    '--format',
    default='text',
    choices=(*FORMATS, 'csv', 'curves'),
    help="how (default: text); csv has all numbers, unrounded; curves are the figure's own, as CSV by round",
  )
  return parser.parse_args(argv)


def _print_table(names: Sequence[str], given: argparse.Namespace) -> None:
  from analysis.numbers import paper_gain, scores
  from analysis.read import figure_runs

  [(name, figure, filled, notes)] = arguments.filled(names, given, figure_runs.fill)
  for note in notes:
    print(f'{name}: {arguments.plain(note)}', file=sys.stderr)
  if given.format == 'csv':
    sys.stdout.write(scores.score_table(filled).to_csv(index=False))
    return
  if given.format == 'curves':
    sys.stdout.write(scores.curve_table(figure, filled).to_csv(float_format='%.5g'))
    return
  table, gains = scores.score_table(filled), paper_gain.gains(filled)
  made = [_scores(table, name), _differences(table, name), *_gains(gains)]
  print('\n\n'.join(FORMATS[given.format](each) for each in made))


def _print_rankings(paths: Sequence[pathlib.Path], given: argparse.Namespace) -> None:
  from analysis.numbers import ranking, scores
  from analysis.read import comparisons

  if given.format == 'curves' and len(paths) > 1:
    raise UserError(f'--format=curves: one comparison at a time, such as {paths[0].stem}.')
  made = []
  for path, comparison, notes in comparisons.filled(paths, arguments.results_dir(given)):
    for note in notes:
      print(f'{path.stem}: {arguments.plain(note)}', file=sys.stderr)
    if given.format == 'curves':
      made.append(scores.curve_table(comparison.figure, comparison.cells).to_csv(float_format='%.5g').rstrip('\n'))
      continue
    table = ranking.ranking(comparison)
    if given.format == 'csv':
      made.append(table.assign(comparison=path.stem).to_csv(index=False, header=not made).rstrip('\n'))
    else:
      made += [FORMATS[given.format](each) for each in ranking.tables(comparison, table)]
  print(('\n' if given.format == 'csv' else '\n\n').join(made))


def _scores(table: Any, name: str) -> Table:
  title = f'{name}: test accuracy in percent, mean ± standard deviation over seeds'
  rows = [
    [row['panel'], row['curve'], str(row['seeds']), *(spread(row[f'{s}_mean'], row[f'{s}_std']) for s in _WORDS)]
    for row in table.to_dict('records')
  ]
  return Table(title, ['panel', 'curve', 'seeds', *_WORDS.values()], rows, labels=2)


def _differences(table: Any, name: str) -> Table:
  first = table['curve'].iloc[0]
  title = f'{name}: difference to {first} in points of percent, seed by seed: mean ± standard deviation [95 % interval]'
  rows = []
  for row in table.to_dict('records'):
    if row['curve'] != first:
      rows.append([row['panel'], row['curve'], str(int(row['pairs'])), *(_difference(row, score) for score in _WORDS)])
  return Table(title, ['panel', 'curve', 'pairs', *_WORDS.values()], rows, labels=2)


def _gains(gains: Any) -> Iterator[Table]:
  """Yields the table of the 22 % rule, if the figure has what it compares."""
  if gains.empty:
    return
  rows = []
  for curve, group in gains.groupby('curve', sort=False):
    for row in group.to_dict('records'):
      accuracies = [f'{number(row[f"{m}_accuracy"])} ({row[f"{m}_rounds"]:.0f})' for m in ('fedavg', 'fedprox')]
      accuracies = accuracies if row['seeds'] else [MISSING, MISSING]
      rows.append([row['dataset'], curve, str(row['seeds']), *accuracies, number(row['gain'], '+')])
    there = group[group['seeds'] > 0]
    rows.append([f'average of {len(there)}', curve, '', '', '', number(there['gain'].mean(), '+')])
  title = 'The rule of 22 %: test accuracy in percent with 90 % stragglers where training has converged, diverged or '
  title += 'ended (mean round), and the gain over FedAvg; the paper has +22 on average of 5 data sets (Figure 7)'
  yield Table(title, ['data', 'curve', 'pairs', 'FedAvg', 'FedProx', 'gain'], rows, labels=2)


def _difference(row: Any, score: str) -> str:
  mean, std, low, high = (row[f'{score}_diff_{key}'] for key in ('mean', 'std', 'low', 'high'))
  interval = f' [{number(low, "+")}, {number(high, "+")}]' if not math.isnan(low) else ''
  return f'{spread(mean, std, "+")}{interval}'


if __name__ == '__main__':
  sys.exit(main())
