# SPDX-License-Identifier: Apache-2.0
"""The command line of figures: python analysis/plot.py figure1, results/RUN [...], or partition --dataset=mnist."""

import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

if not __package__:  # run as a file: Python put this folder on the path, where `numbers` would hide Python's own
  _HERE = pathlib.Path(__file__).resolve().parent
  sys.path[:] = [str(_HERE.parent), *(path for path in sys.path if path != str(_HERE))]

from analysis import arguments
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.errors import UserError
from fedprox_tff.machine.console import say

SUFFIXES = ('.png', '.pdf')
_PARTITION = 'partition'
_GROUPING = ('x', 'y', 'hue', 'row', 'col')
_FLAGS = (
  arguments.RESULTS_DIR,
  Parameter('output', str, None, 'where to'),
  Parameter('band', str, None, 'what the bands are', choices=('std', 'minmax', 'ci95')),
  *(Parameter(name, str) for name in _GROUPING),
)
_HELP = f"""\
Draws the figure of a grid from the runs of a sweep, or training loss and test accuracy of any runs, to PNG and PDF:
python analysis/plot.py FIGURE [FIGURE ...] [--flag=value ...]
python analysis/plot.py RUN [RUN ...] [--flag=value ...]
python analysis/plot.py partition [--flag=value ...]

FIGURE is
{arguments.WHAT}
RUN is the folder of a run: results/<name>.
partition draws which classes the clients of a data set hold; `plot.py partition --help` has its flags.

  --results_dir=FOLDER  where the runs of figures are [results]
  --output=FILE         where to; both FILE.png and FILE.pdf are written [FIGURE in the results folder; curve in the
                        folder of one run, curves beside the folders of several]; a folder, for several figures
  --band=BAND           what the bands over seeds are: std, minmax or ci95 [std]

Of runs:
  --x=COLUMN|KEY        of metrics.csv, or of the config for each last round [round_num]
  --y=COLUMN            column of metrics.csv [test/accuracy]
  --hue=KEY[,KEY]       a curve for each value [for all that differs]
  --row=KEY             a row of panels for each value
  --col=KEY             a column of panels for each value

With any of --x --y --hue --row --col --band, runs that differ in their seeds alone become one curve: their mean, with a
band. KEY is a key of config.json, such as stragglers.
"""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  argv = sys.argv[1:] if argv is None else argv
  if argv and argv[0] == _PARTITION:
    from analysis import partitions  # imported here: it takes numpy

    return arguments.run(_plot_partition, argv[1:], partitions.flags(), partitions.HELP)
  return arguments.run(_plot, argv, _FLAGS, _HELP)


def default_output(runs: Sequence[pathlib.Path]) -> pathlib.Path:
  """Returns where the figure goes, without its ending: into the folder of one run, beside the folders of several."""
  if len(runs) == 1:
    return runs[0] / 'curve'
  parent = pathlib.Path(os.path.commonpath([run.resolve().parent for run in runs]))
  if parent == pathlib.Path(parent.anchor):
    parent = pathlib.Path.cwd()  # runs from all over the machine
  return parent / 'curves'


def _plot(given: Mapping[str, Any], words: list[str]) -> None:
  what = arguments.sort(words)
  if what.comparisons:
    arguments.refuse_unused(given, (*_GROUPING, 'band'), words)
    _plot_comparisons(what.comparisons, given)
  elif what.figures:
    arguments.refuse_unused(given, _GROUPING, words)
    _plot_figures(what.figures, given, words)
  else:
    arguments.refuse_unused(given, ('results_dir',), words)
    _plot_runs(what.runs, given)


def _plot_partition(given: Mapping[str, Any], words: list[str]) -> None:
  from analysis import partitions
  from analysis.draw import partition

  if words:
    raise UserError(f'{words[0]}: {_PARTITION} takes flags alone; see {_PARTITION} --help.')
  federation = partitions.load(given, say)
  drawn = partition.draw(federation.dataset, federation.title)
  default = arguments.results_dir(given) / federation.name
  _save(drawn, default, _output(given, '', 1), 'A federation')


def _plot_figures(paths: Sequence[pathlib.Path], given: Mapping[str, Any], words: Sequence[str]) -> None:
  from analysis.draw import panels, sheets

  folder = arguments.results_dir(given)
  for name, figure, cells, notes in arguments.filled(paths, words, folder):
    for note in notes:
      say(f'{name}: {arguments.plain(note)}')
    sheet = sheets.of_figure(figure, cells)
    drawn = panels.draw(sheet, given.get('band', 'std'))
    _save(drawn, folder / name, _output(given, name, len(paths)), f'{name}, {sheet.title}')


def _plot_comparisons(paths: Sequence[pathlib.Path], given: Mapping[str, Any]) -> None:
  from analysis.draw import dots
  from analysis.read import comparisons

  folder = arguments.results_dir(given)
  for path, comparison, notes in comparisons.filled(paths, folder):
    for note in notes:
      say(f'{path.stem}: {arguments.plain(note)}')
    title = f'{path.stem}, rounds to a test accuracy'
    _save(dots.draw(comparison), folder / path.stem, _output(given, path.stem, len(paths)), title)


def _output(given: Mapping[str, Any], name: str, count: int) -> pathlib.Path | None:
  """Returns what --output says of one of so many figures."""
  if 'output' not in given:
    return None
  return pathlib.Path(given['output']) / name if count > 1 else pathlib.Path(given['output'])


def _plot_runs(paths: Sequence[pathlib.Path], given: Mapping[str, Any]) -> None:
  from analysis.draw import curves, grouped, panels
  from analysis.read import runs
  from fedprox_tff.training import columns

  found = _without_others(paths)
  frame = runs.load_runs(found)
  for note in _notes(frame):
    say(note)
  default = default_output([pathlib.Path(run) for run in frame['run'].unique()])
  output = _output(given, '', 1)
  if any(name in given for name in (*_GROUPING, 'band')):
    hue = given['hue'].split(',') if 'hue' in given else ()
    x, y = given.get('x', columns.ROUND_NUM.name), given.get('y', columns.TEST_ACCURACY.name)
    sheet = grouped.sheet_of(frame, x=x, y=y, hue=hue, row=given.get('row'), col=given.get('col'))
    _save(panels.draw(sheet, given.get('band', 'std')), default, output, f'{y} against {x}')
  else:
    _save(curves.draw(frame), default, output, 'Training loss and test accuracy')


def _without_others(paths: Sequence[pathlib.Path]) -> Sequence[pathlib.Path]:
  """Names what is no run, and leaves it out: results/* also finds earlier figures and folders of other things.

  If nothing is left, all are returned: whoever reads them says what is wrong.
  """
  left_out = {}
  for path in paths:
    if path.suffix in SUFFIXES and not path.is_dir():
      left_out[path] = 'a figure, not a run; left out'
    elif path.is_dir() and not (path / 'config.json').exists():
      left_out[path] = 'has no config.json, so it is no run; left out'
  if len(left_out) == len(dict.fromkeys(paths)):
    return paths
  for path, why in left_out.items():
    say(f'{path}: {why}')
  return [path for path in paths if path not in left_out]


def _notes(frame: Any) -> Iterator[str]:
  """Yields what a reader of the figure should know of single runs."""
  from analysis.draw import curves
  from analysis.read import runs

  diverged = curves.diverged(frame)
  shown = 'the axis is logarithmic' if curves.mostly_diverged(frame) else 'beyond the axis'
  for run, rows in frame.groupby('run', sort=False):
    done, planned = rows[runs.ROUND_NUM].max(), rows['config/rounds'].iloc[0]
    if done < planned:
      yield f'{run}: unfinished: {done} of {planned} rounds'
    beyond = diverged[diverged['run'] == run][runs.ROUND_NUM]
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
    say(f'wrote {_write(output.with_name(output.name + suffix), page.render(figure, suffix, title))}')


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
