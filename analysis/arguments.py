# SPDX-License-Identifier: Apache-2.0
"""What the command lines of figures and tables have in common: figures by name, and where their runs are."""

import os
import pathlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.config import command_line
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.errors import UserError
from fedprox_tff.machine.console import BAD_INPUT, DONE, say

RESULTS_DIR = Parameter('results_dir', str, 'results', 'where runs are')
_GRIDS = pathlib.Path(__file__).resolve().parents[1] / 'experiments' / 'grids'
_ALL, _METHODS = 'all', 'methods'


def _in_order(path: pathlib.Path) -> list[Any]:
  """Sorts the papers' figures before all else, and figure2 before figure10."""
  parts = [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.stem)]
  return [not path.stem.startswith('figure'), *parts]


def _has(path: pathlib.Path, section: str) -> bool:
  try:
    return section in tomllib.loads(path.read_text())
  except (OSError, ValueError):
    return False  # whoever reads it says what is wrong


_FILES = sorted(_GRIDS.glob('*.toml'), key=_in_order)
FIGURES = {path.stem: path for path in _FILES if _has(path, 'figure')}
COMPARISONS = {path.stem: path for path in _FILES if _has(path, 'search')}
NAMES = ', '.join([*FIGURES, *COMPARISONS])
WHAT = f"""\
  a figure of the paper, or a comparison of methods:
    {', '.join(FIGURES)}
    {', '.join(COMPARISONS)}
  {_ALL} for all of the first line, {_METHODS} for all of the second
  any other grid: its name in experiments/grids, or its file, my.toml"""


class What(NamedTuple):
  """What a command line asks for; all but one are empty."""

  comparisons: Sequence[pathlib.Path]  # grids with a [search]
  figures: Sequence[pathlib.Path]  # other grids
  runs: Sequence[pathlib.Path]  # folders


def run(
  main: Callable[[Mapping[str, Any], list[str]], None],
  argv: Sequence[str] | None,
  flags: Sequence[Parameter],
  text: str,
) -> int:
  """Runs a command line and returns its exit code.

  Args:
    main: `(flags, words)` does what is asked for; flags that were not given are not among them.
    argv: The command line without the program; None: that of this process.
    flags: What it may have.
    text: What --help prints.
  """
  argv = sys.argv[1:] if argv is None else argv
  if command_line.asks_for_help(argv, flags):
    say(text)
    return DONE
  try:
    given, words = command_line.parse(argv, flags)
    known = {flag.name: flag for flag in flags}
    main({name: known[name].parse(value) for name, value in given.items()}, words)
  except UserError as error:
    say(f'error: {error}', stream=sys.stderr)
    return BAD_INPUT
  return DONE


def results_dir(given: Mapping[str, Any]) -> pathlib.Path:
  """Returns where a figure's runs are."""
  return pathlib.Path(os.path.expanduser(given.get('results_dir', RESULTS_DIR.default)))


def sort(words: Sequence[str]) -> What:
  """Returns what words ask for.

  Raises:
    UserError: If they ask for nothing or for several kinds of things, or name a figure that is not there.
  """
  if not words:
    raise UserError('a figure or the folder of a run is needed; see --help.')
  found = {word: _grids_of(word) for word in words}
  comparisons = [path for paths in found.values() for path in paths if _has(path, 'search')]
  others = [word for word, paths in found.items() if not any(path in comparisons for path in paths)]
  if comparisons:
    if others:
      raise UserError(f'{others[0]}: give comparisons of methods alone, or figures, or runs.')
    return What(list(dict.fromkeys(comparisons)), (), ())
  figures = [path for paths in found.values() for path in paths]
  runs = [word for word, paths in found.items() if not paths]
  if figures and runs:
    name = next(word for word, paths in found.items() if paths)
    raise UserError(f'{runs[0]}: {name} finds its runs in --results_dir; give figures or runs, not both.')
  return What((), list(dict.fromkeys(figures)), [pathlib.Path(word) for word in runs])


def refuse_unused(given: Mapping[str, Any], flags: Sequence[str], words: Sequence[str]) -> None:
  """Refuses flags that have no effect on what is asked for."""
  for flag in flags:
    if flag in given:
      raise UserError(f'--{flag}={given[flag]}: {words[0]} does not use it; see --help.')


def filled(
  paths: Sequence[pathlib.Path], words: Sequence[str], folder: pathlib.Path
) -> Iterator[tuple[str, Any, Any, list[str]]]:
  """Yields each figure's name, the figure, its cells with their runs, and notes.

  Of all, those that have no runs are named and passed over.

  Raises:
    UserError: If a figure that was asked for by name has no runs, or none of all has.
  """
  from analysis.read import figure_runs, figures

  read = [figures.read(path) for path in paths]
  if not folder.is_dir():
    raise UserError(
      f'{folder} does not exist; `bash experiments/sweep.sh` makes runs there, --results_dir names another.'
    )
  done = False
  for path, figure in zip(paths, read, strict=True):
    try:
      cells, notes = figure_runs.fill(figure, folder)
    except UserError as error:
      if _ALL not in words:
        raise UserError(f'{path.stem}: {error}') from None
      say(f'{path.stem}: {error}')
      continue
    done = True
    yield path.stem, figure, cells, notes
  if not done:
    raise UserError(f'{folder}: no run of any figure is in there; `bash experiments/sweep.sh` makes some.')


def plain(words: str) -> str:
  """Returns a label without its mathematics: '$\\mu$ = 1' is 'mu = 1'."""
  return words.replace('$', '').replace('\\', '')


def _grids_of(word: str) -> list[pathlib.Path]:
  """Returns the grids that a word asks for; none if it is the folder of a run."""
  path = pathlib.Path(word)
  if path.suffix == '.toml':
    return [path]
  if path.exists():
    return []
  if word == _ALL:
    return list(FIGURES.values())
  if word == _METHODS:
    return list(COMPARISONS.values())
  for file in (_GRIDS / f'{word}.toml', pathlib.Path(f'{word}.toml')):
    if file.is_file():
      return [file]
  if re.fullmatch(r'figure\w*', word):
    raise UserError(f'{word} is not one of the figures; there are {NAMES} and {_ALL}.')
  return []
