# SPDX-License-Identifier: Apache-2.0
"""Legends and captions: what differs, what is shared, and never the same words for two runs."""

import pytest
from made_runs import CONFIG, FEDAVG

from analysis.draw.labels import legend_and_caption, say


def describe(*differences):
  return legend_and_caption({f'results/{i}': CONFIG | values for i, values in enumerate(differences)})


@pytest.mark.parametrize(
  ('differences', 'legend'),
  [
    ([{}], [r'FedProx, $\mu$ = 1']),
    ([FEDAVG], ['FedAvg']),
    ([FEDAVG, {'mu': 0.0}, {'mu': 0.001}], ['FedAvg', r'FedProx, $\mu$ = 0', r'FedProx, $\mu$ = 0.001']),
    (
      [FEDAVG, {'stragglers': 0.0}, {'stragglers': 0.9}],
      ['FedAvg, 50 % stragglers', r'FedProx, $\mu$ = 1, no stragglers', r'FedProx, $\mu$ = 1, 90 % stragglers'],
    ),
    # One method: what differs is enough.
    ([{'seed': 0}, {'seed': 1}], ['seed 0', 'seed 1']),
    ([{'stragglers': 0.0}, {'stragglers': 0.07}], ['no stragglers', '7 % stragglers']),
    ([{'epochs': 1}, {'epochs': 20, 'learning_rate': 1e-5}], [r'$E$ = 1, $\eta$ = 0.03', r'$E$ = 20, $\eta$ = 1e-05']),
    # What goes without saying is not said, so the method is.
    ([{}, {'weighting': 'uniform'}], [r'FedProx, $\mu$ = 1', r'FedProx, $\mu$ = 1, uniform weighting']),
    ([{}, {'server_learning_rate': 0.5}], [r'FedProx, $\mu$ = 1', r'FedProx, $\mu$ = 1, server $\eta$ = 0.5']),
    # A policy is said where it is not the method's own.
    ([FEDAVG, FEDAVG | {'straggler_policy': 'partial'}], ['FedAvg', 'FedAvg, partial work kept']),
    ([FEDAVG, {'straggler_policy': 'drop'}], ['FedAvg', r'FedProx, $\mu$ = 1, stragglers dropped']),
    (
      [FEDAVG, {'straggler_policy': 'drop', 'stragglers': 0}],
      ['FedAvg, 50 % stragglers', r'FedProx, $\mu$ = 1, no stragglers'],
    ),
    # Data.
    (
      [
        {'dataset': 'synthetic', 'partition': None, 'synthetic_alpha': 0.5, 'synthetic_beta': 1.0},
        {'dataset': 'synthetic', 'partition': None, 'synthetic_iid': True},
        {'dataset': 'leaf', 'partition': None, 'data_dir': '/data/femnist/'},
      ],
      ['Synthetic(0.5, 1)', 'Synthetic-IID', 'femnist'],
    ),
    (
      [{'partition': 'iid'}, {'partition': 'dirichlet', 'dirichlet_alpha': 0.3}],
      ['IID', r'Dirichlet($\alpha$ = 0.3)'],
    ),
    # A method with a setting that this version does not know.
    (
      [FEDAVG | {'algorithm': 'scaffold', 'option_number': 2}, FEDAVG],
      ['SCAFFOLD, weighted by examples, option number = 2', 'FedAvg'],
    ),
    # An adaptive mu. What is measured besides sets no runs apart.
    (
      [{'mu': 'adaptive', 'initial_mu': 0.0}, {'mu': 1.0, 'rounds_per_dissimilarity': 1, 'measure_gamma': True}],
      [r'FedProx, adaptive $\mu$, initial $\mu$ = 0', r'FedProx, $\mu$ = 1'],
    ),
    ([{'seed': 20240131}, {'seed': 20240132}], ['seed 20240131', 'seed 20240132']),
  ],
)
def test_legend(differences, legend):
  assert describe(*differences)[0] == legend


def test_caption_says_what_is_shared():
  everything = r'MNIST, power law, 1000 clients, logistic regression, $K$ = 10, $E$ = 20, $B$ = 10, $\eta$ = 0.03'
  assert describe({})[1] == f'{everything}, 50 % stragglers, seed 0'
  assert describe({'seed': 1}, FEDAVG)[1] == f'{everything}, 50 % stragglers'
  assert describe({'stragglers': 0.0}, {'stragglers': 0.9})[1] == rf'FedProx, $\mu$ = 1, {everything}, seed 0'
  assert describe({'weighting': 'uniform'})[1] == f'{everything}, uniform weighting, 50 % stragglers, seed 0'


def test_caption_says_how_clients_work_and_on_how_much_they_are_measured():
  work = {'epochs': None, 'local_steps': 5, 'clip_norm': 0.5, 'l2': 0.001, 'evaluation_examples': 100}
  _, caption = describe(CONFIG | work)
  assert '$E$' not in caption
  for words in ('local steps = 5', 'clipped at norm 0.5', 'l2 = 0.001', 'evaluated on 100 examples'):
    assert f', {words}, ' in caption
  entries, _ = describe(work, work | {'l2': 0.0})
  assert entries == [r'FedProx, $\mu$ = 1, l2 = 0.001', r'FedProx, $\mu$ = 1']


def test_last_resorts_are_for_runs_that_read_the_same():
  legend, _ = describe({'runtime': 'worker', 'name': 'x'}, {'name': 'y'}, FEDAVG | {'rounds': 9, 'name': 'z'})
  assert legend == [r'FedProx, $\mu$ = 1, runtime worker', r'FedProx, $\mu$ = 1, runtime in_process', 'FedAvg']
  assert describe({'name': 'a'}, {'name': 'b$'})[0] == [r'FedProx, $\mu$ = 1, a', r'FedProx, $\mu$ = 1, b\$']
  assert describe({}, {})[0] == [r'FedProx, $\mu$ = 1, results/0', r'FedProx, $\mu$ = 1, results/1']


@pytest.mark.parametrize(
  ('values', 'key', 'words'),
  [
    ({'stragglers': 0.9}, 'stragglers', '90 % stragglers'),
    ({}, 'mu', r'FedProx, $\mu$ = 1'),
    (FEDAVG, 'mu', 'FedAvg'),
    ({}, 'algorithm', 'FedProx'),
    ({'epochs': 5}, 'epochs', '$E$ = 5'),
    ({'weighting': 'examples'}, 'weighting', 'weighted by examples'),  # as usual, and elsewhere not
    ({'algorithm': 'scaffold', 'mu': None, 'weighting': 'uniform'}, 'weighting', 'uniform weighting'),
    ({'algorithm': 'scaffold', 'mu': None, 'weighting': 'examples'}, 'weighting', 'weighted by examples'),
    (FEDAVG, 'straggler_policy', 'stragglers dropped'),
    ({}, 'straggler_policy', 'partial work kept'),
    ({}, 'server_optimizer', 'server optimizer = sgd'),  # goes without saying elsewhere
    ({'dataset': 'synthetic', 'synthetic_alpha': 0.5, 'synthetic_beta': 1.0}, 'synthetic_beta', 'Synthetic(0.5, 1)'),
    ({}, 'new_key', 'new key = None'),
  ],
)
def test_one_setting_in_words(values, key, words):
  assert say(CONFIG | values, key) == words
