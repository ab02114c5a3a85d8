# SPDX-License-Identifier: Apache-2.0
"""A hook of MkDocs: links from docs/ into the rest of the repository work on the site too.

A page links to ../../fedprox_tff/run.py, and a code host shows that file. The site holds docs/ alone. So this hook adds
each file that a page links to, below repository/: pictures and tables as they are, Markdown as a page, and other text
as a page that shows it. A link to a file that is not there is a warning, and `mkdocs build --strict` makes it an error.
"""

import logging
import pathlib
import posixpath
import re
from collections.abc import Callable, Iterator

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_DOCS = 'docs/'
_PLACE = 'repository/'  # on the site
_AS_THEY_ARE = ('.md', '.png', '.csv')
_FENCED = re.compile(r'(^ *```.*?^ *``` *$)', re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'\]\((?![a-z]+:)([^)\s#]+)')  # to a file, not to an address or a heading

_log = logging.getLogger('mkdocs.plugins.docs_links')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
  """Names headings as code hosts do, so that a link to one leads there on both."""
  config.mdx_configs['toc'] = {'slugify': lambda heading, _: re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')}
  return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
  """Adds the files of the repository that pages link to, and those that these link to."""
  root = _root(config)
  waiting = [_DOCS + page.src_uri for page in files.documentation_pages()]
  while waiting:
    source = waiting.pop()
    for target in _targets(source, (root / source).read_text()):
      if target.startswith(_DOCS) or files.get_file_from_path(_uri(target)) or not (root / target).is_file():
        continue
      if target.endswith(_AS_THEY_ARE):
        files.append(File.generated(config, _uri(target), abs_src_path=str(root / target)))
      else:
        files.append(File.generated(config, _uri(target), content=_shown(target, (root / target).read_text())))
      if target.endswith('.md'):
        waiting.append(target)
  return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
  """Points the links of a page at the site's copies."""
  del files
  uri = page.file.src_uri
  if uri.startswith(_PLACE) and not (_root(config) / uri.removeprefix(_PLACE)).is_file():
    return markdown  # a page that shows code
  source = uri.removeprefix(_PLACE) if uri.startswith(_PLACE) else _DOCS + uri

  def point(link: str) -> str:
    target = _target(source, link)
    if not (_root(config) / target).is_file():
      _log.warning("%s links to '%s', which is no file of the repository.", source, link)
    return posixpath.relpath(_uri(target), posixpath.dirname(uri) or '.')

  return _replace_links(markdown, point)


def _root(config: MkDocsConfig) -> pathlib.Path:
  return pathlib.Path(config.config_file_path).resolve().parent


def _targets(source: str, markdown: str) -> Iterator[str]:
  found: list[str] = []
  _replace_links(markdown, lambda link: found.append(link) or link)
  return (_target(source, link) for link in found)


def _target(source: str, link: str) -> str:
  """Returns the path in the repository of what a file there links to."""
  return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _uri(target: str) -> str:
  """Returns the place on the site of a file of the repository."""
  if target.startswith(_DOCS):
    return target.removeprefix(_DOCS)
  return _PLACE + target + ('' if target.endswith(_AS_THEY_ARE) else '.md')


def _replace_links(markdown: str, point: Callable[[str], str]) -> str:
  """Returns the text with `point` of each link outside of code blocks."""
  parts = _FENCED.split(markdown)  # every second one is a code block
  parts[::2] = [_LINK.sub(lambda match: f']({point(match[1])}', part) for part in parts[::2]]
  return ''.join(parts)


def _shown(target: str, text: str) -> str:
  """Returns the page that shows a file of code."""
  language = {'.py': 'python', '.sh': 'bash', '.sbatch': 'bash', '.toml': 'toml'}.get(
    posixpath.splitext(target)[1], 'text'
  )
  return f'# {posixpath.basename(target)}\n\n`{target}`\n\n~~~~~~{language}\n{text.rstrip()}\n~~~~~~\n'
