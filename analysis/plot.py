# SPDX-License-Identifier: Apache-2.0
"""The command line of one figure: python analysis/plot.py results/RUN [results/RUN ...]."""

import argparse
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

if not __package__:  # run as a file: Python put this folder on the path, and the imports start from the one above
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fedprox_tff.errors import UserError

DONE, BAD_INPUT = 0, 2
SUFFIXES = ('.png', '.pdf')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  arguments = _parse(argv)
  try:
    _plot(arguments.runs, arguments.output)
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
    description='Draws training loss and test accuracy against rounds, of one run or several, to PNG and PDF.',
    epilog='The legend says what differs between the configs of the runs, the caption what they share.',
    allow_abbrev=False,
  )
  parser.add_argument('runs', nargs='+', type=pathlib.Path, metavar='RUN', help="a run's folder: results/<name>")
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    metavar='FILE',
    help='where to; both FILE.png and FILE.pdf are written (default: curve in the folder of one run, curves beside '
    'the folders of several)',
  )
  return parser.parse_args(argv)


def _plot(given: Sequence[pathlib.Path], output: pathlib.Path | None) -> None:
  runs = [path for path in given if path.suffix not in SUFFIXES or path.is_dir()] or given
  for path in given:
    if path not in runs:
      print(f'{path}: a figure, not a run; left out')  # results/* also finds earlier figures
  from analysis import curves, load  # late, since pandas and Matplotlib take a second, and --help need not

  frame = load.load_runs(runs)
  for note in _notes(frame):
    print(note)
  figure = curves.draw(frame)
  default = default_output([pathlib.Path(run) for run in frame['run'].unique()])
  if output is None:
    output = default
  elif output.is_dir():
    output = output / default.name
  elif output.suffix in SUFFIXES:
    output = output.with_suffix('')
  for suffix in SUFFIXES:
    print(f'wrote {_write(output.with_name(output.name + suffix), curves.render(figure, suffix))}')


def _notes(frame: Any) -> Iterator[str]:
  """Yields what a reader of the figure should know of single runs."""
  from analysis import curves, load

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
        f'{len(load.evaluated(rows))} evaluated rounds, first in round {beyond.min()} ({shown})'
      )


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
