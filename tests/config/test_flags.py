# SPDX-License-Identifier: Apache-2.0
"""Flags of what can be chosen stand beside each other; a clash is an error of the import."""

import pathlib
import subprocess
import sys

import pytest

from fedprox_tff.config.flags import FLAGS, KINDS, defaults_of
from fedprox_tff.config.help import groups, help_text

ROOT = pathlib.Path(__file__).parents[2]

# Imports the flags with one more method, which is made of the given parameters.
WITH_A_METHOD = """
from typing import Annotated
from fedprox_tff import algorithms
from fedprox_tff.algorithms.base import Algorithm

def made_up(*, {parameters}) -> Algorithm:
  "Returns a method."
  return algorithms.fedavg()._replace(name='made_up', title='MadeUp')

algorithms.ALGORITHMS = {{'made_up': made_up, **algorithms.ALGORITHMS}}
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
for given in {given}:
  try:
    print(Config.from_flags(given).flat().get({key!r}))
  except UserError as error:
    print(error)
"""


def with_a_method(parameters, *given, key=''):
  code = WITH_A_METHOD.format(parameters=parameters, given=list(given), key=key)
  return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize('parameter', ['epochs: int = 3', 'num_clients: int = 3', 'algorithm: float = 1.0'])
def test_a_methods_parameter_that_is_another_flag_is_an_error_of_the_import(parameter):
  done = with_a_method(parameter)
  assert done.returncode
  name = parameter.partition(':')[0]
  assert f'TypeError: made_up: the parameter {name} clashes with another flag of this name.' in done.stderr


@pytest.mark.parametrize('name', ['jobs', 'flagfile'])
def test_a_parameter_that_is_a_flag_of_the_command_lines_is_an_error(name):
  assert f'the parameter {name} clashes with a flag of the command lines.' in with_a_method(f'{name}: int = 1').stderr


def test_a_parameter_that_is_a_switch_of_one_method_and_a_number_of_another_is_an_error():
  done = with_a_method('nesterov: float = 0.1')
  assert 'the parameter nesterov is a switch of one and a value of another' in done.stderr


def test_a_method_changes_nothing_of_another():
  """Both have beta: each allows what its own annotation says."""
  given = [
    {'algorithm': 'fedavg_m', 'beta': 7},
    {'algorithm': 'made_up', 'beta': 7},
    {'algorithm': 'fedavg', 'beta': 7},
  ]
  done = with_a_method('beta: float = 2.0', *given, key='beta')
  refused, taken, unused = done.stdout.splitlines()
  assert refused == '--beta=7: a number from 0 to 1 is needed.'
  assert taken == '7.0'
  assert unused.startswith('--beta=7: algorithm fedavg does not use it (made_up, fedavg_m, ')


def test_every_parameter_of_every_choice_is_a_flag_with_a_help():
  for kind, table in KINDS.items():
    assert FLAGS[kind].parameter.table is table
  for name, flag in FLAGS.items():
    assert flag.parameter.name == name
    for owner, parameter in flag.owners:
      assert parameter.help, f'{owner}: {name} has no sentence under Args:'


def test_help_has_each_flag_once_with_its_default():
  text = help_text()
  for name in FLAGS:
    assert text.count(f'\n  --{name} ') == 1
  assert max(map(len, text.splitlines())) <= 140
  rows = {row.name: row for _, group in groups() for row in group}
  assert rows['mu'].default.startswith('fedprox: 1.0;') or 'fedprox: 1.0' in rows['mu'].default
  assert 'synthetic: 0.01; ' in rows['learning_rate'].default
  assert rows['clients_per_round'].default.endswith('; else 10')
  assert rows['rounds'] == ('rounds', (), 'rounds of communication', 'a whole number of at least 0', '100')


def test_defaults_are_those_of_what_brings_them():
  assert defaults_of('weighting')['fedavg'] == 'examples'
  assert defaults_of('weighting')['scaffold'] == 'uniform'
  assert set(defaults_of('client_states').values()) == {'memory'}
  assert 'fedavg' not in defaults_of('client_states')
  assert defaults_of('rounds') == {'': 100}
  server = defaults_of('server_learning_rate')
  assert (server['fedadam'], server['fedavg'], server['fedgm'], 'scaffnew' in server) == (0.1, 1.0, 1.0, False)
