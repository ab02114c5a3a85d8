# SPDX-License-Identifier: Apache-2.0
"""The benchmarks still run: each is imported, and the cheap ones measure something for a moment."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOREIGN = {'_fedjax', '_flower', '_torch'}  # they run where other frameworks are
MODULES = sorted(path.stem for path in (ROOT / 'benchmarks').glob('*.py') if not path.stem.startswith('__'))

# Those that set TensorFlow's threads come first. Some start a process for each row: here they measure one in their own.
GOES = {
  'network_steps': ['--networks=cnn', '--quick', '--turns=1'],
  'local_step': ['--quick'],
  'start_up': ['--part', '--dataset=digits'],
  'round_profile': ['--dataset=digits', '--clients_per_round=3', '--epochs=1'],
  'round_time': ['--rounds=1'],
  'scale': ['--part=round', '--size=100'],
  'client_states': ['--case=disk:3', '--clients=10', '--dataset=digits'],
  'endurance': ['--case=sync', '--quick'],
  'cluster': ['--quick', '--dataset=digits'],
}
if importlib.util.find_spec('ray') is None:
  del GOES['cluster']
# What a number of a table is called, or its key; how many of them there are at least.
MEASURED = {
  'network_steps': (r'^\| cnn \| \d+ .* \| ([\d,]+) \| [\d,]+ \|$', 1),
  'local_step': (r'^\| (?:ours|numpy|Keras)[^|]* \| ([\d.]+) \|', 5),
  'start_up': (r'"[^"]+": ([\d.]+)', 8),
  'round_profile': (r'^\| [^|]+ \| (-?[\d.]+) \|', 10),
  'round_time': (r'^\| [^|]+ \| ([\d.]+) \|', 4),
  'scale': (r'"(?:seconds|peak)": ([\d.]+)', 2),
  'client_states': (r'"(?:seconds|peak|disk|read|put)": ([\d.]+)', 5),
  'endurance': (r'"(?:seconds|calls|waiting)": ([\d.]+)', 3),
  'cluster': (r'^\| .* \| ([\d.,]+) \|$', 29),
}


@pytest.fixture(scope='module')
def results(tmp_path_factory):
  folder = tmp_path_factory.mktemp('benchmarks')
  (folder / 'goes.json').write_text(json.dumps([[module, *flags] for module, flags in GOES.items()]))
  command = [sys.executable, '-m', 'tests.benchmark_goes', str(folder / 'goes.json'), str(folder / 'results.json')]
  with (folder / 'log.txt').open('w') as log:
    code = subprocess.run(
      command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, timeout=1800, check=False
    ).returncode
  assert code == 0, (folder / 'log.txt').read_text()
  return dict(zip(GOES, json.loads((folder / 'results.json').read_text()), strict=True))


@pytest.mark.parametrize('module', [module for module in MODULES if module not in FOREIGN])
def test_a_benchmark_is_imported(module):
  importlib.import_module(f'benchmarks.{module}')


@pytest.mark.parametrize('module', GOES)
def test_a_benchmark_measures(module, results):
  result = results[module]
  assert result['problem'] is None, result['problem']
  pattern, least = MEASURED[module]
  numbers = re.findall(pattern, result['output'], re.MULTILINE)
  assert len(numbers) >= least, result['output']
  assert max(float(number.replace(',', '')) for number in numbers) > 0


def test_a_cluster_without_ray_is_bad_input(monkeypatch, capsys):
  cluster = importlib.import_module('benchmarks.cluster')
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  monkeypatch.setattr(sys, 'argv', ['cluster'])
  with pytest.raises(SystemExit) as ended:
    cluster.main()
  assert ended.value.code == 2
  printed = capsys.readouterr()
  assert printed.err == 'error: benchmarks.cluster: Ray is not installed here; "make ray" installs it.\n'
  assert not printed.out
