# SPDX-License-Identifier: Apache-2.0
"""TensorFlow and TFF are there when they are needed, and what of them nobody needs is not."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LATE = ('tensorflow_privacy', 'tensorflow_probability', 'dp_accounting')


def ended(code, expected=0):
  """Runs a program, and checks how it ends."""
  done = subprocess.run(
    [sys.executable, '-c', f'import gc, sys\nfrom fedprox_tff.machine import frameworks\n{code}'],
    cwd=ROOT,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode == expected, done.stderr
  assert 'Traceback' not in done.stderr
  return done


def said(code, expected=0):
  return ended(code, expected).stdout


@pytest.mark.parametrize('begun', ['', 'frameworks.begin()'])
def test_differential_privacy_is_imported_when_it_is_used(begun):
  out = said(f"""
{begun}
frameworks.load()
print(sorted(set(sys.modules) & {set(LATE)}), 'tensorflow_federated' in sys.modules)
import numpy as np, tensorflow_federated as tff
aggregator = tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(0.5, 10.0, 1.0)
process = aggregator.create(tff.TensorType(np.float32, [3]))
print(type(process).__name__, sorted(set(sys.modules) & {set(LATE)}))
import tensorflow_privacy
print(tensorflow_privacy.__spec__.name, tensorflow_privacy.DPQuery.__name__)
frameworks.leave(0)
""")
  assert out.splitlines() == [
    '[] True',
    f'AggregationProcess {sorted(LATE)}',
    'tensorflow_privacy DPQuery',
  ]


def test_what_is_there_already_stays():
  out = said("""
import dp_accounting
frameworks.load()
from tensorflow_federated.python.aggregators import differential_privacy as module
print(module.dp_accounting is dp_accounting, 'tensorflow_privacy' in sys.modules)
frameworks.leave(0)
""")
  assert out == 'True False\n'


def test_the_collector_goes_on_and_leaves_out_what_stays():
  out = said('frameworks.load(); print(gc.isenabled(), gc.get_freeze_count() > 100_000); frameworks.leave(0)')
  assert out == 'True True\n'
  out = said('gc.disable(); frameworks.load(); print(gc.isenabled()); frameworks.leave(0)')
  assert out == 'False\n'


@pytest.mark.parametrize('before', ['', 'import tensorflow_federated; '])
def test_a_program_of_ones_own_ends_without_tffs_complaints(before):
  assert 'ignored' not in ended(f'{before}frameworks.load()').stderr


def test_a_process_ends_in_the_middle_of_the_import_with_its_words_and_its_code():
  out = said(
    "import atexit; atexit.register(print, 'waited'); print('words'); frameworks.begin(); frameworks.leave(3)", 3
  )
  assert out == 'words\n'
  assert said('frameworks.leave(4)', expected=4) == ''


def test_what_shares_modules_with_tensorflow_waits_for_it():
  out = said("""
from fedprox_tff.datasets import DATASETS
from fedprox_tff.datasets.partitions import PARTITIONS
frameworks.begin()
print(DATASETS['digits']().load(PARTITIONS['power_law']()).name, 'tensorflow_federated' in sys.modules)
frameworks.leave(0)
""")
  assert out == 'digits True\n'


def test_an_import_that_fails_is_said_by_who_needs_it():
  out = said("""
import importlib
sys.modules['tensorflow'] = None
frameworks.begin()
try:
  frameworks.load()
except ImportError as error:
  print(type(error).__name__, gc.isenabled())
frameworks.leave(0)
""")
  assert out == 'ModuleNotFoundError True\n'
