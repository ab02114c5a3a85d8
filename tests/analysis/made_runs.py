# SPDX-License-Identifier: Apache-2.0
"""What the folder of a made run holds; runs and cells that never were on a disk."""

import pandas as pd

from analysis.read.cells import Cell
from fedprox_tff.config.record import Config
from fedprox_tff.sweeps.search import Choice, Tried
from fedprox_tff.sweeps.trials import Trial

CONFIG = {
  'dataset': 'mnist',
  'data_dir': None,
  'data_seed': 0,
  'partition': 'power_law',
  'num_clients': 1000,
  'dirichlet_alpha': None,
  'synthetic_alpha': None,
  'synthetic_beta': None,
  'synthetic_iid': None,
  'fallback_dataset': '',
  'model': 'logistic',
  'algorithm': 'fedprox',
  'mu': 1.0,
  'client_optimizer': 'sgd',
  'learning_rate': 0.03,
  'server_optimizer': 'sgd',
  'server_learning_rate': 1.0,
  'rounds': 4,
  'clients_per_round': 10,
  'sampling': 'uniform',
  'weighting': 'examples',
  'epochs': 20,
  'batch_size': 10,
  'stragglers': 0.5,
  'straggler_policy': 'partial',
  'seed': 0,
  'runtime': 'in_process',
  'device': 'cpu',
  'rounds_per_evaluation': 2,
  'rounds_per_checkpoint': 10,
  'results_dir': 'results',
  'name': 'run',
}
FEDAVG = {'algorithm': 'fedavg', 'mu': None, 'straggler_policy': 'drop'}
# Evaluated every other round, as results.py writes it.
LOSSES = ('2.5', 'nan', '1.25', 'nan', '2.2738632088209076')
HEADER = 'round_num,cohort/epochs,mu,test/accuracy,test/loss,train/accuracy,train/loss'


def csv_text(losses=LOSSES, *, mu=1.0):
  """Returns metrics.csv with these training losses; evaluated rounds have the accuracy 0.1 (round_num + 1)."""
  rows = [HEADER]
  for round_num, loss in enumerate(losses):
    accuracy = 'nan' if loss == 'nan' else f'0.{round_num + 1}'
    rows.append(f'{round_num},100.0,{mu},{accuracy},{loss},{accuracy},{loss}')
  return '\n'.join(rows) + '\n'


def csv_of(**columns):
  """Returns metrics.csv with these columns by their names without 'test/' and the like; the others repeat them."""
  full = {'test/accuracy': columns['accuracy'], 'train/loss': columns.get('loss', columns['accuracy'])}
  full |= {'test/loss': full['train/loss'], 'train/accuracy': full['test/accuracy']}
  if 'variance' in columns:
    full['dissimilarity/variance'] = columns['variance']
  rows = [','.join(map(str, row)) for row in zip(*full.values(), strict=True)]
  return '\n'.join([f'round_num,{",".join(full)}', *(f'{i},{row}' for i, row in enumerate(rows))]) + '\n'


def frame_of(accuracy, *, every=1, **columns):
  """Returns a run's table of rounds, evaluated every so often with these accuracies, and other columns by round."""
  evaluation = {f'{part}/{y}': accuracy for part in ('test', 'train') for y in ('accuracy', 'loss')}
  evaluated = pd.DataFrame(evaluation, index=range(0, every * len(accuracy), every))
  rounds = pd.RangeIndex(max(len(evaluated) * every - every + 1, *map(len, columns.values()), 1), name='round_num')
  return evaluated.reindex(rounds).assign(**columns).reset_index()


def cell_of(curve, frames, *, column='No stragglers', partner='', **flags):
  """Returns the cell of a curve in a panel, with a run for each table of rounds: their seeds are 0, 1 and so on."""
  config = Config.from_flags({'dataset': 'digits', 'algorithm': 'fedavg', **flags})
  return Cell('', column, curve, config, 'made', dict(enumerate(frames)), partner)


def choice_of(values, *, ends=None, runs=7, local_steps=310_400, note=''):
  """Returns the end of a search that chose values and took so many runs and local steps."""
  trial = Trial('', {}, section=None, run_of=None, cell_of=None, seeds=(), note=note)
  return Choice(trial, values, ends or {}, [Tried(values, 1.0, runs, local_steps)])
