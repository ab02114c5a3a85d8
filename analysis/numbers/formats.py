# SPDX-License-Identifier: Apache-2.0
"""Tables as text, Markdown and LaTeX. Labels come in as a figure has them, with mathematics between dollar signs."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from analysis.arguments import plain

MISSING = '-'
PLUS_MINUS = r'\pm'


class Table(NamedTuple):
  """A table of strings; the first `labels` columns are words, the others numbers."""

  title: str
  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  labels: int


def spread(mean: float, std: float, sign: str = '') -> str:
  """Returns '84.5 ± 0.3' of shares, in percent, '84.5' of a single one, or a dash of none."""
  return f'{number(mean, sign)} ± {number(std)}' if not math.isnan(std) else number(mean, sign)


def number(share: float, sign: str = '') -> str:
  """Returns a share in percent, or a dash of none."""
  return f'{100 * share:{sign}.1f}' if not math.isnan(share) else MISSING


def text(table: Table) -> str:
  """Returns a table in columns."""
  lines = [[plain(cell) for cell in line] for line in (table.header, *table.rows)]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  laid_out = [
    '  '.join(c.ljust(w) if i < table.labels else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
    for line in lines
  ]
  rule = '-' * sum(widths, 2 * (len(widths) - 1))
  return '\n'.join([plain(table.title), *(line.rstrip() for line in [laid_out[0], rule, *laid_out[1:]])])


def markdown(table: Table) -> str:
  """Returns a table in GitHub's Markdown."""
  lines = [[plain(cell) for cell in line] for line in (table.header, *table.rows)]
  rule = ['---' if i < table.labels else '---:' for i in range(len(table.header))]
  body = '\n'.join(f'| {" | ".join(line)} |' for line in [lines[0], rule, *lines[1:]])
  return f'**{plain(table.title)}**\n\n{body}'


def latex(table: Table) -> str:
  """Returns a table for LaTeX with the package booktabs."""
  columns = 'l' * table.labels + 'r' * (len(table.header) - table.labels)
  lines = [' & '.join(map(_escape, line)) + r' \\' for line in (table.header, *table.rows)]
  return '\n'.join(
    [
      f'% {plain(table.title)}',
      rf'\begin{{tabular}}{{{columns}}}',
      r'\toprule',
      lines[0],
      r'\midrule',
      *lines[1:],
      r'\bottomrule',
      r'\end{tabular}',
    ]
  )


def _escape(cell: str) -> str:
  if cell == MISSING:
    return '--'
  number = cell.lstrip('+-')[:1].isdigit() and '%' not in cell
  return f'${cell.replace("±", PLUS_MINUS)}$' if number else cell.replace('%', r'\%')


FORMATS: dict[str, Callable[[Table], str]] = {'text': text, 'markdown': markdown, 'latex': latex}
