# SPDX-License-Identifier: Apache-2.0
"""The command line of figures: python analysis/plot.py figure1, or python analysis/plot.py results/RUN [...]."""

import argparse
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

if not __package__:  # run as a file: Python put this folder on the path, whose `numbers` would hide Python's own
  sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from analysis import arguments
from fedprox_tff.core.errors import UserError

DONE, BAD_INPUT = 0, 2
SUFFIXES = ('.png', '.pdf')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  given = _parse(argv)
  try:
    paths = arguments.comparisons(given.what)
    if paths:
      arguments.refuse_unused(given, ('x', 'y', 'hue', 'row', 'col', 'band'), given.what)
      _plot_comparisons(paths, given)
      return DONE
    figures, runs = arguments.figures_or_runs(given.what)
    arguments.refuse_unused(given, ('x', 'y', 'hue', 'row', 'col') if figures else ('results_dir',), given.what)
    if figures:
      _plot_figures(figures, given)
    else:
      _plot_runs(runs, given)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return BAD_INPUT
  return DONE


def default_output(runs: Sequence[pathlib.Path]) -> pathlib.Path:
  """Returns where the figure goes, without its ending: into the folder of one run, beside the folders of several."""
  if len(runs) == 1:
    return runs[0] / 'curve'
  parent = pathlib.Path(os.path.commonpath([run.resolve().parent for run in runs]))
  if parent == pathlib.Path(parent.anchor):
    parent = pathlib.Path.cwd()  # runs from all over the machine
  return parent / 'curves'


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python analysis/plot.py',
    description="Draws the paper's figures from the runs of a sweep, or training loss and test accuracy of any runs, "
    'to PNG and PDF.',
    epilog='With any of --x --y --hue --row --col --band, runs that differ in their seeds alone become one curve: '
    'their mean, with a band. KEY is a key of config.json.',
    allow_abbrev=False,
  )
  parser.add_argument('what', nargs='+', metavar='FIGURE|RUN', help=arguments.WHAT_HELP)
  arguments.add_results_dir(parser)
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    metavar='FILE',
    help='where to; both FILE.png and FILE.pdf are written (default: FIGURE in the results folder; curve in the folder '
    'of one run, curves beside the folders of several); a folder, for several figures',
  )
  parser.add_argument('--band', choices=('std', 'minmax', 'ci95'), help='what the bands over seeds are (default: std)')
  parser.add_argument('--x', metavar='COLUMN|KEY', help='of metrics.csv, or of the config for each last round')
  parser.add_argument('--y', metavar='COLUMN', help='column of metrics.csv (default: test/accuracy)')
  parser.add_argument('--hue', metavar='KEY[,KEY]', help='a curve for each value (default: for all that differs)')
  parser.add_argument('--row', metavar='KEY', help='a row of panels for each value')
  parser.add_argument('--col', metavar='KEY', help='a column of panels for each value')
  return parser.parse_args(argv)


def _plot_figures(names: Sequence[str], given: argparse.Namespace) -> None:
  from analysis.draw import panels, sheets
  from analysis.read import figure_runs

  for name, figure, filled, notes in arguments.filled(names, given, figure_runs.fill):
    for note in notes:
      print(f'{name}: {arguments.plain(note)}')
    sheet = sheets.of_figure(figure, filled)
    output = given.output
    if output is not None and len(names) > 1:
      output = output / name
    _save(
      panels.draw(sheet, given.band or 'std'), arguments.results_dir(given) / name, output, f'{name}, {sheet.title}'
    )


def _plot_comparisons(paths: Sequence[pathlib.Path], given: argparse.Namespace) -> None:
  from analysis.draw import dots
  from analysis.read import comparisons

  for path, comparison, notes in comparisons.filled(paths, arguments.results_dir(given)):
    for note in notes:
      print(f'{path.stem}: {arguments.plain(note)}')
    output = given.output / path.stem if given.output is not None and len(paths) > 1 else given.output
    title = f'{path.stem}, rounds to a test accuracy'
    _save(dots.draw(comparison), arguments.results_dir(given) / path.stem, output, title)


def _plot_runs(given_runs: Sequence[pathlib.Path], given: argparse.Namespace) -> None:
  folders = [path for path in given_runs if path.suffix not in SUFFIXES or path.is_dir()] or given_runs
  for path in given_runs:
    if path not in folders:
      print(f'{path}: a figure, not a run; left out')  # results/* also finds earlier figures
  from analysis.draw import curves, grouped, panels
  from analysis.read import runs

  frame = runs.load_runs(folders)
  for note in _notes(frame):
    print(note)
  default = default_output([pathlib.Path(run) for run in frame['run'].unique()])
  if any((given.x, given.y, given.hue, given.row, given.col, given.band)):
    hue = given.hue.split(',') if given.hue else ()
    x, y = given.x or 'round_num', given.y or 'test/accuracy'
    sheet = grouped.sheet_of(frame, x=x, y=y, hue=hue, row=given.row, col=given.col)
    _save(panels.draw(sheet, given.band or 'std'), default, given.output, f'{y} against {x}')
  else:
    _save(curves.draw(frame), default, given.output, 'Training loss and test accuracy')


def _notes(frame: Any) -> Iterator[str]:
  """Yields what a reader of the figure should know of single runs."""
  from analysis.draw import curves
  from analysis.read import runs

  diverged = curves.diverged(frame)
  shown = 'the axis is logarithmic' if curves.mostly_diverged(frame) else 'beyond the axis'
  for run, rows in frame.groupby('run', sort=False):
    done, planned = rows['round_num'].max(), rows['config/rounds'].iloc[0]
    if done < planned:
      yield f'{run}: unfinished: {done} of {planned} rounds'
    beyond = diverged[diverged['run'] == run]['round_num']
    if len(beyond):
      yield (
        f'{run}: diverged: training loss above {curves.loss_limit(frame):.3g} or not finite in {len(beyond)} of '
        f'{len(runs.evaluated(rows))} evaluated rounds, first in round {beyond.min()} ({shown})'
      )


def _save(figure: Any, default: pathlib.Path, output: pathlib.Path | None, title: str) -> None:
  from analysis.draw import page

  if output is None:
    output = default
  elif output.is_dir():
    output = output / default.name
  elif output.suffix in SUFFIXES:
    output = output.with_suffix('')
  for suffix in SUFFIXES:
    print(f'wrote {_write(output.with_name(output.name + suffix), page.render(figure, suffix, title))}')


def _write(path: pathlib.Path, content: bytes) -> str:
  """Writes a file and returns its path, from here if it lies below."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  except OSError as error:
    raise UserError(f'{path}: cannot be written ({error.strerror}); --output=FILE chooses another place.') from None
  return os.path.relpath(path) if path.resolve().is_relative_to(pathlib.Path.cwd()) else str(path)


if __name__ == '__main__':
  sys.exit(main())
