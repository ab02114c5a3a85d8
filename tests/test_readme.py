# SPDX-License-Identifier: Apache-2.0
"""The README stays true: its code runs, its flags and columns are all there are, its files exist."""

import dataclasses
import pathlib
import re

from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.config.record import Config
from tests.test_run import COLUMNS

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def test_the_code_for_users_of_tff_runs(capsys):
  code, *_ = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  exec(code, {})
  said = capsys.readouterr().out.splitlines()
  assert len(said) == 3
  assert "('num_clients'" in said[-1]


def test_nothing_is_left_to_fill_in():
  assert '@@' not in README


def test_every_flag_is_named():
  table = README[README.index('| group | flags |') : README.index('A flag that the chosen data set')]
  named = set(re.findall(r'--(\w+)', table)) - {'help'}
  own = {key for algorithm in ALGORITHMS.values() for key in parameters(algorithm)}  # docs/methods.md names these
  assert named - own == {field.name for field in dataclasses.fields(Config)} - own


def test_every_column_is_explained():
  table = README[README.index('| column of') : README.index('Rounds that are not evaluated')]
  first_cells = [line.split('|')[1] for line in table.splitlines() if line.startswith('| `')]
  assert set(re.findall(r'`([\w/]+)`', ' '.join(first_cells))) == COLUMNS


def test_every_file_that_it_links_to_is_there():
  links = [link for link in re.findall(r'\]\(([^)#]+)', README) if '://' not in link]
  assert links
  assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_section_that_it_links_to_is_there():
  headings = re.findall(r'^#+ (.*)$', README, re.MULTILINE)
  anchors = {re.sub(r'[^\w\- ]', '', heading).lower().replace(' ', '-') for heading in headings}
  assert set(re.findall(r'\]\(#([^)]+)\)', README)) <= anchors
