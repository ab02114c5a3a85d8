# SPDX-License-Identifier: Apache-2.0
"""The search for a learning rate: what it tries, what it chooses, and every way in which a file can be wrong."""

import csv
import math

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grids, search

GRID = """
[base]
dataset = 'digits'
rounds = 30
[grid]
stragglers = [0.0, 0.9]
seed = [0, 1]
[search]
seed = 100
rounds = 20
learning_rate = [0.01, 0.03, 0.1]
[target]
accuracy = 0.8
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
[[curve]]
name = 'FedAdam'
algorithm = 'fedadam'
search = { server_learning_rate = [0.1, 0.3, 1.0] }
"""


def read(tmp_path, text=GRID, overrides=None):
  path = tmp_path / 'my.toml'
  path.write_text(text)
  return grids.read(path, overrides)


def write_run(folder, losses, first_round=0):
  """Writes a metrics.csv with these training losses by round; None is a round that was not evaluated."""
  folder.mkdir(parents=True, exist_ok=True)
  rows = ['round_num,test/accuracy,test/loss,train/accuracy,train/loss']
  for round_num, loss in enumerate(losses, start=first_round):
    rows.append(f'{round_num},nan,nan,nan,nan' if loss is None else f'{round_num},0.1,{loss},0.1,{loss}')
  (folder / 'metrics.csv').write_text('\n'.join(rows) + '\n')
  return folder


def test_a_trial_for_each_curve_and_point_but_not_for_each_seed(tmp_path):
  grid = read(tmp_path)
  assert grid.cells == []
  assert grid.target == 0.8
  assert grid.num_cells == 4 * (3 + 2)
  assert [str(trial) for trial in grid.trials] == [
    *('FedAvg, stragglers=0.0', 'FedAvg, stragglers=0.9', 'FedAdam, stragglers=0.0', 'FedAdam, stragglers=0.9')
  ]
  flats = [candidate.flat() for trial in grid.trials[::3] for candidate in trial.candidates]
  tried = [(f['learning_rate'], f['server_learning_rate'], f['stragglers']) for f in flats]
  assert tried == [*((x, 1.0, 0.0) for x in (0.01, 0.03, 0.1)), *((0.03, x, 0.9) for x in (0.1, 0.3, 1.0))]
  assert {(c.seed, c.rounds) for trial in grid.trials for c in trial.candidates} == {(100, 20)}


def test_the_cells_of_a_choice_are_the_configs_of_the_same_flags(tmp_path):
  flags = {'dataset': 'digits', 'rounds': 30, 'stragglers': 0.9, 'algorithm': 'fedadam', 'server_learning_rate': 0.3}
  cells = read(tmp_path).trials[3].cells(0.3)
  assert cells == [Config.from_flags({**flags, 'seed': seed}) for seed in (0, 1)]


def test_flags_overrule_the_cells_and_shorten_the_search_but_keep_its_seed(tmp_path):
  quick = read(tmp_path, overrides={'rounds': '5', 'seed': '7', 'epochs': '2'}).trials[0]
  assert {(c.seed, c.rounds, c.epochs) for c in quick.candidates} == {(100, 5, 2)}
  assert [(c.seed, c.rounds, c.epochs) for c in quick.cells(0.1)] == [(7, 5, 2)]
  longer = read(tmp_path, overrides={'rounds': '500'}).trials[0]
  assert {c.rounds for c in longer.candidates} == {20}
  assert {c.rounds for c in longer.cells(0.1)} == {500}


@pytest.mark.parametrize(
  ('losses', 'chosen'),
  [
    ([[1.0], [0.5], [0.7]], 0.03),
    ([[1.0], ['nan'], [2.0]], 0.01),  # diverged
    ([['inf'], ['nan'], [1e9]], 0.1),
    ([['nan'], ['nan'], ['nan']], 0.01),  # all did: the first
    ([[0.5], [0.5], [0.5]], 0.01),
    ([[9.0] + [0.5] * 10, [0.1] * 9 + [0.6] * 10, [0.1] * 5 + [0.7] * 10], 0.01),  # the last ten alone count
    ([[0.5] * 9 + ['nan'], [0.1] + ['nan'] * 9, [3.0] * 10], 0.1),  # one that is not finite is enough
    ([[0.9] * 21 + [0.0] * 50, [0.8] * 21, [1.0]], 0.03),  # a run that went on beyond the search's rounds
    ([[1.0, None, 3.0, None], [1.0, None, 2.0, None], [4.0]], 0.03),  # evaluated in some rounds only
  ],
)
def test_the_smallest_training_loss_wins(tmp_path, losses, chosen):
  trial = read(tmp_path).trials[0]
  folders = {c.learning_rate: write_run(tmp_path / c.name, values) for c, values in
             zip(trial.candidates, losses, strict=True)}  # fmt: skip
  choices = [search.choose(trial, lambda config: folders[config.learning_rate]) for _ in range(2)]
  assert choices[0].value == choices[1].value == chosen
  assert [config.learning_rate for config in choices[0].cells] == [chosen] * 2


def test_a_run_whose_server_never_moved_loses(tmp_path):
  """Its loss is finite, and may be the smallest."""
  trial = read(tmp_path).trials[0]
  folders = {}
  for config, loss, skipped in zip(trial.candidates, [1.0, 2.0, 3.0], [1, 0, 0], strict=True):
    folder = folders[config] = tmp_path / config.name
    folder.mkdir()
    rows = [f'{r},{skipped if r else 0},70,0.1,{loss},0.1,{loss}' for r in range(21)]
    head = 'round_num,cohort/skipped,cohort/steps,test/accuracy,test/loss,train/accuracy,train/loss'
    (folder / 'metrics.csv').write_text('\n'.join([head, *rows]) + '\n')
  choice = search.choose(trial, folders.get)
  assert (choice.value, choice.losses) == (0.03, [math.inf, 2.0, 3.0])


def test_nothing_is_chosen_before_all_runs_are_done(tmp_path):
  trial = read(tmp_path).trials[0]
  done = {config: write_run(tmp_path / config.name, [1.0]) for config in trial.candidates[:2]}
  assert search.choose(trial, done.get) is None


def test_a_choice_in_words_and_in_a_file(tmp_path):
  trials = read(tmp_path).trials[1:3]
  first = search.Choice(trials[0], 0.03, [1.25, 0.5, math.inf])
  last = search.Choice(trials[1], 1.0, [3.0, 2.0, 1.0])
  assert str(first) == 'FedAvg, stragglers=0.9: learning_rate=0.03, training loss 0.5 (0.01: 1.25, 0.1: diverged)'
  assert (first.is_at_the_end, last.is_at_the_end) == (False, True)
  search.write(tmp_path / 'choices.csv', [first, last])
  with (tmp_path / 'choices.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert list(rows[0]) == ['curve', 'stragglers', 'flag', 'value', 'train/loss', 'chosen']
  assert [(row['curve'], row['value']) for row in rows if row['chosen'] == '1'] == [
    ('FedAvg', '0.03'),
    ('FedAdam', '1.0'),
  ]
  assert [row['train/loss'] for row in rows] == ['1.25', '0.5', 'inf', '3.0', '2.0', '1.0']


@pytest.mark.parametrize(
  ('old', 'new', 'said'),
  [
    ('seed = 100\n', '', ['[search]', 'a seed is needed']),
    ('seed = 100', 'seed = 1', ['[search] seed = 1', 'cells have it too']),
    ('seed = 100', 'seed = -1', ['[search] --seed=-1']),
    ('learning_rate = [0.01, 0.03, 0.1]', '', ['[search] one flag with a list of values']),
    ('learning_rate = [0.01, 0.03, 0.1]', 'learning_rate = 0.1', ['[search] learning_rate: a list of values']),
    ('learning_rate = [0.01, 0.03, 0.1]', 'learning_rate = [0.1]', ['[search] learning_rate: at least two values']),
    ('[0.01, 0.03, 0.1]', '[0.01, 0.03, 0.03]', ['[search] learning_rate', 'all of them different']),
    ('[0.01, 0.03, 0.1]', '[0.01, 0.03, -1]', ['[search] --learning_rate=-1']),
    ('learning_rate = [0.01', 'leaning_rate = [0.01', ['[search] leaning_rate', 'did you mean learning_rate?']),
    ('[target]', 'mu = [0.0, 1.0]\n[target]', ['[search] one flag', 'not learning_rate, mu']),
    ('rounds = 20', 'rounds = [20, 30]', ['[search] rounds: one number']),
    ('server_learning_rate = [0.1, 0.3, 1.0]', 'tau = [0.1, 0.3]',
     ['[[curve]] FedAdam: search: tau: 2 values, but FedAvg tries 3', 'the budget is the same']),
    ('{ server_learning_rate', '{ sever_learning_rate',
     ['[[curve]] FedAdam: search: sever_learning_rate', 'did you mean server_learning_rate?']),
    ('{ server_learning_rate = [0.1, 0.3, 1.0] }', '3', ['[[curve]] FedAdam: search: one flag with a list']),
    ('{ server_learning_rate = [0.1, 0.3, 1.0] }', '{ seed = [1, 2, 3] }', ['search: seed: it cannot be searched']),
    ("search = {", "server_learning_rate = 1.0\nsearch = {", ['FedAdam: server_learning_rate: the search has it too']),
    ("rounds = 30", "rounds = 30\nlearning_rate = 1.0", ['[search] learning_rate: [base] has it too']),
    ("'fedavg'", "'delta_sgd'", ['[[curve]] FedAvg: --learning_rate=0.01', 'finds its own step sizes']),
    ('accuracy = 0.8', 'accuracy = 80', ['[target] accuracy = 80: a share above 0']),
    ('accuracy = 0.8', 'loss = 0.8', ['[target] loss: only accuracy']),
    ('[search]', '[serach]', ['serach: a grid has only title, [base], [grid], [search], [target]']),
    ('[search]\nseed = 100\nrounds = 20\nlearning_rate = [0.01, 0.03, 0.1]', '',
     ['[[curve]] FedAdam: search: a section [search]']),
  ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_what_is_allowed(tmp_path, old, new, said):
  assert old in GRID
  with pytest.raises(UserError) as caught:
    read(tmp_path, GRID.replace(old, new))
  assert '\n' not in str(caught.value)
  for part in said:
    assert part in str(caught.value)


@pytest.mark.parametrize(
  ('overrides', 'said'),
  [
    ({'learning_rate': '0.1'}, '--learning_rate: the search of this grid finds it'),
    ({'seed': '100'}, r'\[search\] seed = 100: cells have it too'),
  ],
)
def test_what_a_command_line_cannot_overrule(tmp_path, overrides, said):
  with pytest.raises(UserError, match=said):
    read(tmp_path, overrides=overrides)
