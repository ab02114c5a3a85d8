# SPDX-License-Identifier: Apache-2.0
"""What the command lines of figures and tables have in common: figures by name, and where their runs are."""

import argparse
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from analysis.read.figures import FIGURES, Figure
from fedprox_tff.core.errors import UserError

_GRIDS = pathlib.Path(__file__).resolve().parents[1] / 'experiments' / 'grids'
_METHODS = 'methods'
COMPARISONS = {path.stem: path for path in sorted(_GRIDS.glob(f'{_METHODS}_*.toml'))}
NAMES = ', '.join([*FIGURES, *COMPARISONS])
WHAT_HELP = f"one of the figures ({NAMES}), {_METHODS} for all comparisons of methods, all for all of the paper's; "
WHAT_HELP += 'a grid of your own with [search] and [target]: FILE.toml; or the folders of runs: results/<name>'
_ALL = 'all'


def add_results_dir(parser: argparse.ArgumentParser) -> None:
  """Adds the flag of that name, whose default is in `results_dir`."""
  parser.add_argument('--results_dir', type=pathlib.Path, metavar='FOLDER', help='where runs are (default: results)')


def results_dir(given: argparse.Namespace) -> pathlib.Path:
  """Returns where a figure's runs are."""
  return given.results_dir or pathlib.Path('results')


def comparisons(what: Sequence[str]) -> list[pathlib.Path]:
  """Returns the grids of the comparisons of methods that are asked for; none if figures or runs are.

  Raises:
    UserError: If both are.
  """
  names = [name for name in what if name in (*COMPARISONS, _METHODS) and not pathlib.Path(name).exists()]
  files = [name for name in what if name.endswith('.toml')]
  others = [name for name in what if name not in (*names, *files)]
  if others and len(others) < len(what):
    raise UserError(f'{others[0]}: give comparisons of methods alone, or figures, or runs.')
  if _METHODS in names:
    names = list(COMPARISONS)
  return [*(COMPARISONS[name] for name in dict.fromkeys(names)), *map(pathlib.Path, files)]


def figures_or_runs(what: Sequence[str]) -> tuple[list[str], list[pathlib.Path]]:
  """Returns the names of figures, or the folders of runs: one of them is empty.

  Raises:
    UserError: If both were given, or a figure that is not there.
  """
  names = [name for name in what if name in FIGURES or re.fullmatch(rf'figure\w*|{_ALL}', name)]
  names = [name for name in names if not pathlib.Path(name).exists()]
  for name in names:
    if name not in FIGURES and name != _ALL:
      raise UserError(f'{name} is not one of the figures; there are {NAMES} and {_ALL}.')
  runs = [pathlib.Path(path) for path in what if path not in names]
  if names and runs:
    raise UserError(f'{runs[0]}: {names[0]} finds its runs in --results_dir; give figures or runs, not both.')
  return (list(FIGURES) if _ALL in names else list(dict.fromkeys(names))), runs


def refuse_unused(given: argparse.Namespace, flags: Sequence[str], what: Sequence[str]) -> None:
  """Refuses flags that have no effect on what is asked for."""
  for flag in flags:
    if getattr(given, flag) is not None:
      raise UserError(f'--{flag}={getattr(given, flag)}: {what[0]} does not use it; see --help.')


def filled(
  names: Sequence[str], given: argparse.Namespace, fill: Callable[..., Any]
) -> Iterator[tuple[str, Figure, Any, list[str]]]:
  """Yields each figure with its cells and notes; of all, those that have no runs are named and passed over.

  Raises:
    UserError: If a figure that was asked for by name has no runs, or none of all has.
  """
  folder = results_dir(given)
  if not folder.is_dir():
    raise UserError(
      f'{folder} does not exist; `bash experiments/sweep.sh` makes runs there, --results_dir names another.'
    )
  done = False
  for name in names:
    try:
      cells, notes = fill(FIGURES[name], folder)
    except UserError as error:
      if _ALL not in given.what:
        raise UserError(f'{name}: {error}') from None
      print(f'{name}: {error}')
      continue
    done = True
    yield name, FIGURES[name], cells, notes
  if not done:
    raise UserError(f'{folder}: no run of any figure is in there; `bash experiments/sweep.sh` makes some.')


def plain(words: str) -> str:
  """Returns a label without its mathematics: '$\\mu$ = 1' is 'mu = 1'."""
  return words.replace('$', '').replace('\\', '')
