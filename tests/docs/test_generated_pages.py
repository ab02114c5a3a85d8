# SPDX-License-Identifier: Apache-2.0
"""The generated pages are those that the code makes, and they name every flag and every column."""

import re

import pytest

from fedprox_tff.training.columns import COLUMNS
from scripts import reference

PAGES = reference.pages()


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.stem)
def test_a_generated_page_is_up_to_date(path):
  assert path.read_text() == PAGES[path], f'{path.name} is out of date: `make docs` renews it.'


def test_a_table_says_what_a_flag_is_and_who_has_it():
  text = PAGES[reference.FOLDER / 'flags.md']
  assert '| `--epochs` | E, the local epochs of a client that is on time | a whole number of at least 1 | 20 |' in text
  assert '| `dualprox` | DualPROX | `--mu=0.01`, `--step_penalty=0.1` |' in text


def test_every_column_has_a_row_with_its_meaning():
  text = PAGES[reference.FOLDER / 'columns.md']
  rows = dict(re.findall(r'^\| `(.*?)` \| (.*?) \|', text, re.MULTILINE))
  assert rows == {name: column.meaning for name, column in COLUMNS.items()}
