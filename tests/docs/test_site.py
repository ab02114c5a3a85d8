# SPDX-License-Identifier: Apache-2.0
"""The site is built without a warning, so no link is broken; links into the repository lead to copies on the site."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = f"""\
site_name: small
use_directory_urls: false
hooks: ['{ROOT}/scripts/docs_links.py']
theme: {{name: mkdocs, highlightjs: false}}
validation: {{anchors: warn}}
"""


def build(folder: pathlib.Path, site: pathlib.Path) -> subprocess.CompletedProcess:
  command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(site)]
  return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def small(tmp_path):
  """A repository with one page and one module."""
  (tmp_path / 'mkdocs.yml').write_text(CONFIG)
  (tmp_path / 'docs').mkdir()
  (tmp_path / 'code').mkdir()
  (tmp_path / 'code' / 'add.py').write_text('def add(a, b):\n  return a + b\n')
  (tmp_path / 'NOTES.md').write_text(
    '# Notes\n\nThe [code](code/add.py) and the [first page](docs/index.md#one-two).\n'
  )

  def write(text):
    (tmp_path / 'docs' / 'index.md').write_text(f'# Page\n\n## One `two`\n\n{text}\n')
    return build(tmp_path, tmp_path / 'site')

  return write


def test_the_site_is_built_without_a_warning(tmp_path):
  ran = build(ROOT, tmp_path)
  assert ran.returncode == 0, ran.stderr
  assert (tmp_path / 'results' / 'papers-figures.html').is_file()
  assert (tmp_path / 'repository' / 'results' / 'published' / 'figure1.png').is_file()


def test_a_link_to_a_module_leads_to_its_text(small, tmp_path):
  assert small('See [add](../code/add.py).').returncode == 0
  assert 'href="repository/code/add.py.html"' in (tmp_path / 'site' / 'index.html').read_text()
  assert 'return a + b' in (tmp_path / 'site' / 'repository' / 'code' / 'add.py.html').read_text()


def test_a_page_outside_of_docs_has_links_of_its_own(small, tmp_path):
  assert small('See the [notes](../NOTES.md).').returncode == 0
  notes = (tmp_path / 'site' / 'repository' / 'NOTES.html').read_text()
  assert 'href="code/add.py.html"' in notes
  assert 'href="../index.html#one-two"' in notes


@pytest.mark.parametrize(
  ('text', 'problem'),
  [
    ('[a](../code/sub.py)', "links to '../code/sub.py', which is no file of the repository"),
    ('[a](other.md)', "links to 'other.md', which is no file of the repository"),
    ('[a](#three)', "contains a link '#three', but there is no such anchor"),
  ],
)
def test_a_broken_link_is_an_error(small, text, problem):
  ran = small(text)
  assert ran.returncode == 1
  assert problem in ran.stderr


def test_links_in_code_are_left_alone(small, tmp_path):
  assert small('```text\n[a](../code/add.py)\n```').returncode == 0
  assert not (tmp_path / 'site' / 'repository').exists()
