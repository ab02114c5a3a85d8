# SPDX-License-Identifier: Apache-2.0
"""Writes the pages of the documentation that are made from the code: python -m scripts.reference, or make docs."""

import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from fedprox_tff.config import help as flag_help
from fedprox_tff.config.choice import default_of, flags_of
from fedprox_tff.config.flags import KINDS
from fedprox_tff.core.choices import Factory
from fedprox_tff.training.columns import COLUMNS

FOLDER = pathlib.Path(__file__).resolve().parents[1] / 'docs' / 'reference'

_MADE = 'This page is made from the code: `make docs` renews it.'
_FLAGS = f"""\
# Flags

*For people who look up a flag of a run or of a grid. {_MADE}*

The defaults are the paper's setting for MNIST: 1,000 clients, K = 10 a round, E = 20 epochs, batch 10, learning rate
0.03, mu = 1, no stragglers, 100 rounds.

- A flag that the chosen data set, partition, model or method does not use is an error. The message says what uses it.
- A switch is set by `--nesterov` and unset by `--nonesterov`; `--nesterov=true` works too.
- Of a flag that is given twice, the last counts, so that a script can add flags to its own.
- Numbers are written in plain digits, such as `3`, `0.5` or `1e-3`. All computing is in float32: a number is 0, or from
  1.2e-38 to 3.4e38.
- A default such as "mnist: 0.03" comes from what the run chooses.
- `.venv/bin/python -m fedprox_tff.run --help` prints the same on the command line.
"""
_COLUMNS = f"""\
# Columns of metrics.csv

*For people who read the results of a run. {_MADE}*

`metrics.csv` has one row per round, from round 0, which is before training. With `--rounds_per_evaluation=N`, rounds
that are not evaluated have `nan` in the columns of an evaluation. TensorBoard shows the same columns. The unit 1 is a
pure number.
"""
_TITLES = {
  'algorithm': 'method',
  'dataset': 'data set',
}  # of what the flag of that name chooses, if not the flag's name


def pages() -> dict[pathlib.Path, str]:
  """Returns the text of each page by its file."""
  return {FOLDER / 'flags.md': '\n'.join(_flags()), FOLDER / 'columns.md': '\n'.join(_columns())}


def _flags() -> Iterator[str]:
  yield _FLAGS
  for group, rows in flag_help.groups():
    yield f'## {group}\n'
    yield from _table(
      ['flag', 'meaning', 'allowed', 'default'],
      ([f'`--{row.name}`', row.help, row.allowed or 'text without control characters', row.default] for row in rows),
    )
  for kind, table in KINDS.items():
    noun = _TITLES.get(kind, kind)
    yield f'## Parameters of each {noun}\n'
    yield from _table(
      [f'`--{kind}`', noun, 'its own flags and their defaults'],
      ([f'`{name}`', _plain(factory().title), _parameters(factory)] for name, factory in table.items()),
    )


def _parameters(factory: Factory) -> str:
  flags = {parameter.name: default_of(parameter) for parameter in flags_of(factory)}
  return ', '.join(f'`--{name}`' if default is None else f'`--{name}={default}`' for name, default in flags.items())


def _plain(title: str) -> str:
  """Returns a title without its mathematics, such as "$\\alpha$"."""
  return re.sub(r'\$\\?(.*?)\$', r'\1', title)


def _columns() -> Iterator[str]:
  yield _COLUMNS
  yield from _table(
    ['column', 'meaning', 'unit'],
    (
      [f'`{column.name}`', column.meaning, 'share, 0 to 1' if column.percent else column.unit]
      for column in COLUMNS.values()
    ),
  )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
  for row in (head, ['---'] * len(head), *rows):
    yield '| ' + ' | '.join(cell.replace('|', r'\|') for cell in row) + ' |'
  yield ''


def main() -> None:
  """Writes all pages."""
  for path, text in pages().items():
    path.write_text(text)


if __name__ == '__main__':
  main()
