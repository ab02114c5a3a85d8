# SPDX-License-Identifier: Apache-2.0
"""Nothing that is said ends a run: not a closed stream, a full disk, a terminal that is gone, or a foreign letter."""

import io
import os
import pathlib
import pty
import subprocess
import sys

import pytest

from fedprox_tff.machine.console import is_terminal, say

ROOT = pathlib.Path(__file__).parents[2]
CODE = "import sys; from fedprox_tff.machine.console import say; say('ü'); say('ü', stream=sys.stderr); sys.exit(7)"


@pytest.mark.parametrize('redirection', ['', '>&-', '2>&-', '>&- 2>&-', '>/dev/full', '>/dev/full 2>&1'])
@pytest.mark.parametrize('encoding', ['utf-8', 'ascii'])
def test_a_program_ends_as_it_would(redirection, encoding):
  environment = {**os.environ, 'PYTHONIOENCODING': encoding}
  command = f'"{sys.executable}" -c "{CODE}" {redirection}'
  result = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, check=False)
  assert result.returncode in (7, 120)  # 120: Python itself could not flush at its end
  if not redirection:
    assert result.stdout == result.stderr == ('ü\n' if encoding == 'utf-8' else '\\xfc\n').encode()


def test_a_terminal_that_is_gone():
  terminal, slave = pty.openpty()
  with os.fdopen(slave, 'w') as stream:
    assert is_terminal(stream)
    os.close(terminal)
    say('nobody', stream=stream)
    say('nobody', stream=stream)


def test_a_reader_that_is_gone():
  reader, writer = os.pipe()
  os.close(reader)
  with os.fdopen(writer, 'w') as stream:
    say('nobody', stream=stream)
    say('nobody', stream=stream)


def test_no_stream_at_all(monkeypatch):
  monkeypatch.setattr(sys, 'stdout', None)
  say('nobody')
  assert not is_terminal(None)


def test_a_stream_of_no_file():
  stream = io.StringIO()
  say('größer', stream=stream, end='')
  assert stream.getvalue() == 'größer'


def test_a_stream_that_is_closed():
  stream = io.StringIO()
  stream.close()
  say('nobody', stream=stream)
