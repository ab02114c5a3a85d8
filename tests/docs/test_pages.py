# SPDX-License-Identifier: Apache-2.0
"""The pages keep their promises: programs run as they are, flags exist, and each page says whom it is for."""

import pathlib
import re
import subprocess
import sys

import pytest

from fedprox_tff.config.flags import FLAGS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / 'docs').rglob('*.md'))
README = ROOT / 'README.md'


def test_the_readme_is_short():
  assert len(README.read_bytes()) <= 9_000


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_first_whom_it_is_for(page):
  title, empty, first = page.read_text().split('\n', 2)
  assert title.startswith('# ')
  assert empty == ''
  assert re.match(r'\*(For|.*\bfor\b)', first)


def test_the_program_for_users_of_tff_runs(capsys):
  code = re.search(r'```python\n(.*?)```', (ROOT / 'docs/how-to/use-from-tff.md').read_text(), re.DOTALL)[1]
  exec(code, {})
  said = capsys.readouterr().out.splitlines()
  assert len(said) == 3
  assert "('num_clients'" in said[-1]


def test_the_readme_shows_a_part_of_that_program():
  program = (ROOT / 'docs/how-to/use-from-tff.md').read_text()
  shown = re.search(r'```python\n(.*?)```', README.read_text(), re.DOTALL)[1]
  imports = [line for line in shown.splitlines() if line.startswith('from ')]
  assert imports
  assert [line for line in imports if line not in program] == []


@pytest.mark.parametrize('page', [README, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_of_commands_that_train_are_there(page):
  made_up = {'threshold'} if page.stem == 'new-method' else {'hidden_units'} if page.stem == 'new-model' else set()
  commands = re.findall(r'^.*fedprox_tff\.run .*$', page.read_text(), re.MULTILINE)
  named = {flag for command in commands for flag in re.findall(r'--(\w+)', command)}
  assert named - made_up - {'help'} <= FLAGS.keys()


def test_the_drawing_program_starts_as_pages_call_it(tmp_path):
  """As a file: its folder must not hide modules of Python. A folder without a run is bad input."""
  command = [sys.executable, 'analysis/plot.py', str(tmp_path)]
  ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert ran.returncode == 2, ran.stderr
  assert 'config.json' in ran.stderr
