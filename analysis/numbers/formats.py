# SPDX-License-Identifier: Apache-2.0
"""Tables as text, Markdown and LaTeX. Labels come in as a figure has them, with mathematics between dollar signs."""

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from analysis.arguments import plain

MISSING = '-'
PLUS_MINUS = r'\pm'
_WIDTH = 120  # of a legend in text
_UNITS = ('', ' k', ' M', ' G')
_NUMBER = re.compile(r'[+-]?\d(?:[\d.,±+\-/()\[\] ]|e[+-])*')  # as mathematics in LaTeX


class Table(NamedTuple):
  """A table of strings; the first `labels` columns are words, the others numbers. `legend` has a line for each item."""

  title: str
  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  labels: int
  legend: Sequence[str] = ()


def spread(mean: float, std: float, sign: str = '') -> str:
  """Returns '84.5 ± 0.3' of shares, in percent, '84.5' of a single one, or a dash of none."""
  return f'{number(mean, sign)} ± {number(std)}' if not math.isnan(std) else number(mean, sign)


def number(share: float, sign: str = '') -> str:
  """Returns a share in percent, or a dash of none."""
  return f'{100 * share:{sign}.1f}' if not math.isnan(share) else MISSING


def amount(count: float) -> str:
  """Returns a count in three digits, such as '950', '12.3 k' or '4.5 M', or a dash of NaN."""
  if math.isnan(count):
    return MISSING
  rounded = float(f'{count:.3g}')
  power = 0
  while abs(rounded) >= 1000 and power < len(_UNITS) - 1:
    rounded, power = rounded / 1000, power + 1
  return f'{rounded:.3g}{_UNITS[power]}'


def text(table: Table) -> str:
  """Returns a table in columns."""
  lines = [[plain(cell) for cell in line] for line in (table.header, *table.rows)]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  laid_out = [
    '  '.join(c.ljust(w) if i < table.labels else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
    for line in lines
  ]
  rule = '-' * sum(widths, 2 * (len(widths) - 1))
  legend = [textwrap.fill(plain(line), _WIDTH, subsequent_indent='  ') for line in table.legend]
  head = [plain(table.title), *([*legend, ''] if legend else [])]
  return '\n'.join([*head, *(line.rstrip() for line in [laid_out[0], rule, *laid_out[1:]])])


def markdown(table: Table) -> str:
  """Returns a table in GitHub's Markdown."""
  lines = [[plain(cell).replace('|', r'\|') for cell in line] for line in (table.header, *table.rows)]
  rule = ['---' if i < table.labels else '---:' for i in range(len(table.header))]
  body = '\n'.join(f'| {" | ".join(line)} |' for line in [lines[0], rule, *lines[1:]])
  legend = ''.join(f'- {plain(line)}\n' for line in table.legend)
  return '\n'.join([f'**{plain(table.title)}**\n', *([legend] if legend else []), body])


def latex(table: Table) -> str:
  """Returns a table for LaTeX with the package booktabs."""
  columns = 'l' * table.labels + 'r' * (len(table.header) - table.labels)
  cells = [[_escape(c) if i < table.labels else _number(c) for i, c in enumerate(line)] for line in table.rows]
  lines = [' & '.join(line) + r' \\' for line in (map(_escape, table.header), *cells)]
  return '\n'.join(
    [
      *(f'% {plain(line)}' for line in (table.title, *table.legend)),
      rf'\begin{{tabular}}{{{columns}}}',
      r'\toprule',
      lines[0],
      r'\midrule',
      *lines[1:],
      r'\bottomrule',
      r'\end{tabular}',
    ]
  )


def _number(cell: str) -> str:
  """Returns a cell of numbers for LaTeX: those that begin it as mathematics, and then words, such as a unit."""
  begins = _NUMBER.match(cell)
  number = begins.group().rstrip(' ,([') if begins else ''
  return (f'${number.replace("±", PLUS_MINUS)}$' if number else '') + _escape(cell[len(number) :])


def _escape(words: str) -> str:
  """Returns words for LaTeX, without characters that are commands; mathematics is between dollar signs."""
  if words == MISSING:
    return '--'
  parts = words.split('$')
  return '$'.join(part if i % 2 else re.sub('[%&#_]', r'\\\g<0>', part) for i, part in enumerate(parts))


FORMATS: dict[str, Callable[[Table], str]] = {'text': text, 'markdown': markdown, 'latex': latex}
