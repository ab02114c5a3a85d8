# SPDX-License-Identifier: Apache-2.0
import pytest

from fedprox_tff.config.command_line import asks_for_help, parse
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.errors import UserError

FLAGS = [Parameter('rounds', int), Parameter('name', str), Parameter('dry_run', bool)]


@pytest.mark.parametrize(
  ('line', 'given', 'words'),
  [
    ('', {}, []),
    ('--rounds=3 --name=run', {'rounds': '3', 'name': 'run'}, []),
    ('--rounds 3 -name run', {'rounds': '3', 'name': 'run'}, []),
    ('a --rounds 3 b --dry_run c', {'rounds': '3', 'dry_run': True}, ['a', 'b', 'c']),
    ('--nodry_run', {'dry_run': False}, []),
    ('--dry_run=true', {'dry_run': True}, []),
    ('--rounds=1 --rounds=2', {'rounds': '2'}, []),
    ('--rounds -3', {'rounds': '-3'}, []),
    ('--name h', {'name': 'h'}, []),
    ('--name=', {'name': ''}, []),
    ('a -- --rounds=3', {}, ['a', '--rounds=3']),
  ],
)
def test_flags_and_words(line, given, words):
  assert parse(line.split(), FLAGS) == (given, words)


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('--round=3', "Unknown command line flag 'round'. Did you mean: rounds ? See --help."),
    ('a --rounds', '--rounds: a value is needed, a whole number: --rounds=...'),
    ('--dry_run=perhaps', '--dry_run=perhaps: true or false is needed.'),
    ('--undefok=round --round=3', '--undefok is not a flag; see --help.'),
    ('--flagfile=flags.txt', '--flagfile is not a flag; see --help.'),
  ],
)
def test_what_is_wrong_is_one_line(line, message):
  with pytest.raises(UserError) as error:
    parse(line.split(), FLAGS)
  assert str(error.value) == message


@pytest.mark.parametrize(
  ('line', 'asks'),
  [
    *[(word, True) for word in ('-h', '-help', '--help', '--helpfull', '--helpshort', '--h')],
    ('--no_such_flag --help', True),
    ('grid --rounds=3 --help', True),
    ('--dry_run -h', True),
    ('--rounds 3 -h', True),
    ('--name h', False),
    ('--name help', False),
    ('--name --help', False),
    ('-name -h', False),
    ('--name=--help', False),
    ('help', False),
    ('h', False),
    ('-- --help', False),
    ('', False),
  ],
)
def test_help_is_a_word_of_its_own(line, asks):
  assert asks_for_help(line.split(), FLAGS) == asks
