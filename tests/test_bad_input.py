# SPDX-License-Identifier: Apache-2.0
"""Command lines that are wrong: one line each, exit code 2, nothing written, and TensorFlow is never imported."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RUN, SWEEP = 'fedprox_tff.run', 'fedprox_tff.sweep'

# The module, its arguments, and what the line says.
BAD = [
  (RUN, ['--rounds=\u0663'], '--rounds=\u0663: a whole number of at least 0 is needed.'),
  (RUN, ['--rounds=1_000'], '--rounds=1_000: a whole number'),
  (RUN, ['--rounds= 3'], '--rounds= 3: a whole number'),
  (RUN, ['--rounds=1e3'], '--rounds=1e3: a whole number'),
  (RUN, ['--rounds=-1'], '--rounds=-1: a whole number of at least 0'),
  (RUN, ['--rounds=' + '9' * 5000], '...: a whole number of at least 0'),
  (RUN, ['--rounds'], '--rounds: a value is needed, a whole number of at least 0: --rounds=...'),
  (RUN, ['--rounds='], '--rounds=: a whole number'),
  (RUN, ['--round=3'], 'Did you mean: rounds'),
  (RUN, ['--a\nb=1'], 'Unknown command line flag'),
  (RUN, ['a\nb'], 'flags only'),
  (RUN, ['rounds=3'], 'flags only, such as --rounds=...'),
  (RUN, ['--', '--rounds=3'], 'flags only'),
  (RUN, ['--mu=1e39'], '--mu=1e39: in float32, which runs compute in, this is infinite'),
  (RUN, ['--mu=3.5e38'], '--mu=3.5e38: in float32'),
  (RUN, ['--mu=1e-50'], '--mu=1e-50: in float32, which runs compute in, this is 0'),
  (RUN, ['--mu=1e-40'], '--mu=1e-40: in float32'),
  (RUN, ['--mu=nan'], '--mu=nan: a number of at least 0 or the word adaptive is needed.'),
  (RUN, ['--mu=inf'], '--mu=inf: a number'),
  (RUN, ['--mu=0x10'], '--mu=0x10: a number'),
  (RUN, ['--mu=1,5'], '--mu=1,5: a number'),
  (RUN, ['--learning_rate=1e39'], '--learning_rate=1e39: in float32'),
  (RUN, ['--stragglers=1.5'], '--stragglers=1.5: a number from 0 to 1'),
  (RUN, ['--measure_gamma=yes'], '--measure_gamma=yes: true or false is needed.'),
  (RUN, ['--nomeasure_gamma=yes'], '--nomeasure_gamma=yes does not take an argument.'),
  (RUN, ['--results_dir='], '--results_dir=: text of at least one character'),
  (RUN, ['--results_dir=~no_such_user/x'], '~ and the name of a user of this machine are needed'),
  (RUN, ['--dataset=leaf', '--data_dir=~no_such_user/x'], 'is not a folder'),
  (RUN, ['--name='], '--name=: text of at least one character'),
  (RUN, ['--name=a\nb'], '--name=a\\nb: text'),
  (RUN, ['--data_dir='], '--data_dir=: text of at least one character'),
  (RUN, ['--client_optimizer=sgd:,'], '--client_optimizer=sgd:,: sgd or sgd:key=value'),
  (RUN, ['--client_optimizer=sgd:'], '--client_optimizer=sgd:: sgd or sgd:key=value'),
  (
    RUN,
    ['--client_optimizer=sgd:momentum=2'],
    'sgd:momentum= and a number from 0 to 1',
  ),
  (RUN, ['--server_optimizer=adam:beta_1='], '--server_optimizer=adam:beta_1=: '),
  (RUN, ['--server_optimizer=adam:beta_1=1.5'], '--server_optimizer=adam:beta_1=1.5: '),
  (RUN, ['--device=gpu', '--runtime=worker'], "--device=gpu: TFF's worker has no GPU kernels"),
  (RUN, ['--dataset=synthetic', '--model=cnn'], '--model=cnn: The model cnn needs images'),
  (RUN, ['--dataset=digits', '--clients_per_round=500'], '--clients_per_round=500: at most the 100 clients'),
  (RUN, ['--dataset=digits', '--epochs=10000000000'], '--epochs=10000000000: at most 2,147,483,647 local steps'),
  (
    RUN,
    ['--dataset=synthetic', '--synthetic_iid', '--synthetic_beta=0.5'],
    'the IID variant has neither',
  ),
  (RUN, ['--dataset=digits', '--batch_size=some'], '--batch_size=some: a whole number of at least 1 or the word all'),
  (RUN, ['--dataset=leaf'], '--dataset=leaf needs --data_dir'),
  (RUN, ['--algorithm=fedem', '--num_components=1000000'], '--num_components=1000000: a whole number from 1 to 100'),
  (RUN, ['--algorithm=pfedme', '--inner_steps=2000'], '--inner_steps=2000: a whole number from 0 to 1000'),
  (RUN, ['--dataset=no_such_set'], '--dataset=no_such_set: one of'),
  (SWEEP, ['no_such_grid'], 'no_such_grid: no such grid'),
  (SWEEP, ['--jobs=0'], '--jobs=0: a whole number of at least 1'),
  (SWEEP, ['--index=3', '--count=2'], '--index=3 --count=2: an index from 0'),
  (SWEEP, ['x' * 5000], 'no such grid'),
  ('analysis.plot', ['no_such_figure'], 'no_such_figure does not exist'),
]


@pytest.mark.parametrize(('module', 'arguments', 'said'), BAD, ids=[' '.join(a)[:40] for _, a, _ in BAD])
def test_it_is_refused_in_one_line_and_nothing_is_written(tmp_path, module, arguments, said):
  code = (
    'import sys\n'
    'from fedprox_tff.machine import frameworks\n'
    f'from {module} import main\n'
    f'code = main({arguments if module == "analysis.plot" else [module, *arguments]!r})\n'
    'assert "fedprox_tff.training.session" not in sys.modules, "it waited for TensorFlow"\n'
    'frameworks.leave(code)'
  )
  environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONDONTWRITEBYTECODE': '1', 'PYTHONIOENCODING': 'utf-8'}
  result = subprocess.run(
    [sys.executable, '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
  )
  assert result.returncode == 2, result.stderr
  (line,) = result.stderr.splitlines()
  assert line.startswith('error: ')
  assert said in line
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('[base]\ndataset = "digits"\n[grid]\nseed = [' + '0, ' * 30_000 + '0]', '30,001 cells; a grid of at most 20,000'),
    ('[figure]\ngrids = ["a\\u0000b"]', 'is no name of a file'),
    ('[base]\nmu = 1e39', '--mu=1e+39: in float32'),
    ('[base]\nname = "a"', 'not in a grid'),
    ('[search]\nseeds = [9]\nmost = 3\nwithin = 1\nmu = ["adaptive", 0.1]', '[search] mu: a ladder of start'),
    ('title = ' + '[' * 5000, 'nested too deeply'),
    ('\0', 'Invalid statement'),
    (
      '[search]\nseeds = ["0"]\nmost = 3\nwithin = 1\nmu = { start = 1, factor = 2, low = 1, high = 9 }\n'
      '[grid]\nseed = [0]',
      'cells have 0 too',
    ),
    ('[base]\nrounds = ' + '9' * 5000, 'Exceeds the limit'),
  ],
)
def test_a_bad_grid_is_one_line(tmp_path, text, said):
  (tmp_path / 'grid.toml').write_text(text)
  result = subprocess.run(
    [sys.executable, '-m', SWEEP, str(tmp_path / 'grid.toml')], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert result.returncode == 2
  (line,) = result.stderr.splitlines()
  assert said in line


def test_a_joined_grid_names_what_is_no_grid(tmp_path):
  (tmp_path / 'odd.toml').write_text('figure = 3')
  (tmp_path / 'grid.toml').write_text('[figure]\ngrids = ["odd"]')
  result = subprocess.run(
    [sys.executable, '-m', SWEEP, str(tmp_path / 'grid.toml')], cwd=ROOT, capture_output=True, text=True, check=False
  )
  (line,) = result.stderr.splitlines()
  assert (result.returncode, 'figure: a table, [figure], is needed.' in line) == (2, True)


def test_minus_zero_is_zero(tmp_path):
  (tmp_path / 'grid.toml').write_text('[base]\ndataset = "digits"\n[grid]\nmu = [0.0, -0.0, 0]')
  command = [sys.executable, '-m', SWEEP, str(tmp_path / 'grid.toml'), '--dry_run', f'--results_dir={tmp_path}']
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  assert '0 of 1 cells done' in result.stdout
