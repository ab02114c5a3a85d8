# SPDX-License-Identifier: Apache-2.0
"""A sweep over cells that were damaged: each is mended with the same bits, or fails in one line, and stops no other."""

import shutil

import pytest

from fedprox_tff.machine import sealed
from fedprox_tff.training import run_folder
from tests.test_sweep import configs_of, metrics, said, start

ROUNDS, LATER = 12, 16
GRID = """
[base]
dataset = 'digits'
num_clients = 20
rounds = 12
epochs = 1
clients_per_round = 4
rounds_per_checkpoint = 4
[grid]
seed = [0, 1, 2, 3, 4, 5, 6]
[[curve]]
name = 'FedProx'
mu = 1.0
[[curve]]
name = 'SCAFFOLD'
algorithm = 'scaffold'
client_states = 'disk'
[[curve]]
name = 'Ditto'
algorithm = 'ditto'
"""


def change_rows(change):
  def damage(folder):
    lines = (folder / 'metrics.csv').read_bytes().splitlines(keepends=True)
    (folder / 'metrics.csv').write_bytes(b''.join(change(lines)))

  return damage


def empty(*names):
  def damage(folder):
    for name in names:
      (folder / name).write_bytes(b'')

  return damage


def of_another_seed(folder):
  path = folder / 'checkpoints' / 'round_12.ckpt'
  content = sealed.read(path)
  content.about['run']['config']['seed'] = 99
  sealed.write(path, content.about, content.arrays)


BOTH = ('checkpoints/round_8.ckpt', 'checkpoints/round_12.ckpt')
# By seed: the damage, and of a cell that must fail what its line says.
DAMAGE = {
  0: (lambda folder: None, ''),
  1: (change_rows(lambda lines: [*lines[:4], *lines[5:]]), ''),
  2: (change_rows(lambda lines: [*lines[:4], b'rubbish\n', *lines[5:]]), ''),
  3: (change_rows(lambda lines: lines[1:]), ''),
  4: (empty('checkpoints/round_12.ckpt', 'config.json'), ''),
  5: (of_another_seed, ''),
  6: (empty(*BOTH), 'no checkpoint can be used'),
}


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  """Returns a grid, the results of its cells, and the rows that longer ones have."""
  folder = tmp_path_factory.mktemp('damaged_cells')
  grid = folder / 'grid.toml'
  grid.write_text(GRID)
  for name, flags in (('short', []), ('long', [f'--rounds={LATER}'])):
    assert start(grid, folder / name, '--jobs=1', *flags).wait(240) == 0, said(folder / name)
  return grid, folder / 'short', metrics(configs_of(grid, folder / 'long', rounds=LATER))


@pytest.mark.parametrize('rounds', [ROUNDS, LATER])
def test_cells_are_mended_or_fail_in_one_line(done, tmp_path, rounds):
  grid, short, expected = done
  results = tmp_path / 'results'
  shutil.copytree(short, results)
  configs = configs_of(grid, results, rounds=rounds)
  for config in configs:
    DAMAGE[config.seed][0](run_folder.folder(config))
  # A done cell whose rows are whole needs no checkpoint, nor what stands beside it.
  whole = [c for c in configs if c.seed in {0, 5, 6} and rounds == ROUNDS]
  assert [config for config in configs if run_folder.is_done(config)] == whole
  failing = [config for config in configs if DAMAGE[config.seed][1] and config not in whole]
  assert start(grid, results, '--jobs=1', f'--rounds={rounds}').wait(240) == (1 if failing else 0), said(results)
  rows = metrics(configs)
  for config in configs:
    if config not in failing:
      assert run_folder.is_done(config)
      assert rows[config.name] == expected[config.name][: rounds + 1]
  lines = said(results).splitlines()
  reasons = {lines[i].split()[-1]: lines[i + 1] for i, line in enumerate(lines) if line.startswith('failed ')}
  assert reasons.keys() == {config.name for config in failing}
  for config in failing:
    assert DAMAGE[config.seed][1] in reasons[config.name]
    assert 'Traceback' not in run_folder.log_path(config).read_text()
