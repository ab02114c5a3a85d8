# SPDX-License-Identifier: Apache-2.0
"""--learning_rate_decay: in round t the clients' learning rate is lr decay^(t - 1).

With one full-batch step of all clients the norm of the update is the rate times that of the gradient of f. A tiny rate
leaves the weights, and so the gradient, as they are: norms then fall as the rate does.
"""

import csv

import pytest

from fedprox_tff import run
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError

FLAGS = ['--dataset=digits', '--num_clients=10', '--clients_per_round=10', '--epochs=1', '--batch_size=all']
RATE, DECAY = 1e-5, 0.5


def norms(folder):
  with (folder / 'run' / 'metrics.csv').open(newline='') as file:
    return [float(row['train/update_norm']) for row in csv.DictReader(file)][1:]


def train(folder, *flags):
  values = {'algorithm': 'fedavg', 'learning_rate': RATE, 'rounds': 4, 'results_dir': folder, 'name': 'run'}
  return run.main(['run', *FLAGS, *(f'--{name}={value}' for name, value in values.items()), *flags])


def test_the_rate_of_a_round_also_after_a_resume(tmp_path):
  """To the round's rate, and not by one factor more for each time that a run is started."""
  whole, again = tmp_path / 'whole', tmp_path / 'again'
  assert train(whole, f'--learning_rate_decay={DECAY}') == 0
  first, *others = norms(whole)
  assert others == pytest.approx([first * DECAY**t for t in (1, 2, 3)], rel=1e-3)
  for num_rounds in (1, 3, 4):
    assert train(again, f'--learning_rate_decay={DECAY}', f'--rounds={num_rounds}') == 0
  assert norms(again) == norms(whole)


def test_the_first_rate_is_the_one_that_was_asked_for_and_stays_without_decay(tmp_path):
  plain, decayed = tmp_path / 'plain', tmp_path / 'decayed'
  assert train(plain) == 0
  assert train(decayed, f'--learning_rate_decay={DECAY}', '--rounds=1') == 0
  first, *others = norms(plain)
  assert others == pytest.approx([first] * 3, rel=1e-3)
  assert norms(decayed) == [first]


@pytest.mark.parametrize('algorithm', ['delta_sgd', 'scaffnew'])
def test_methods_that_it_means_nothing_to_refuse_it(algorithm):
  with pytest.raises(UserError, match=r'^--learning_rate_decay=0\.5: ') as refused:
    Config.from_flags(
      {
        'algorithm': algorithm,
        'learning_rate_decay': 0.5,
        'dataset': 'digits',
        'clients_per_round': 100,
        'num_clients': 100,
      }
    )
  assert algorithm in str(refused.value)
  assert '\n' not in str(refused.value)
