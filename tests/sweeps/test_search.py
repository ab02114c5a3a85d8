# SPDX-License-Identifier: Apache-2.0
"""The searches of a grid: their runs, what they choose, and what they write."""

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
seeds = [100, 101]
rounds = 20
rounds_per_evaluation = 2
most = 5
within = 1.25
learning_rate = { start = 0.03, factor = 3.1623, low = 1e-3, high = 1.0 }
[target]
accuracy = 0.8
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
[[curve]]
name = 'FedAdam'
algorithm = 'fedadam'
partner = 'FedAvg'
note = 'Its step is divided by that of the gradients.'
search = { server_learning_rate = { start = 0.1, factor = 10, low = 0.01, high = 1.0 }, tau = { start = 0.001, factor = 10, low = 1e-5, high = 1.0 } }
"""  # noqa: E501


def read(tmp_path, text=GRID, overrides=None):
  path = tmp_path / 'my.toml'
  path.write_text(text)
  return grids.read(path, overrides)


def write_run(folder, losses, *, steps=7, first_round=0, **others):
  """Writes a metrics.csv with these training losses by round; None is a round that was not evaluated.

  Args:
    folder: The run's folder.
    losses: The training losses.
    steps: The local steps of each round but 0.
    first_round: The round of the first loss.
    **others: More columns by their names with __ for /, a value for each round.
  """
  folder.mkdir(parents=True, exist_ok=True)
  names = [name.replace('__', '/') for name in others]
  rows = [','.join(['round_num,cohort/steps,test/accuracy,test/loss,train/accuracy,train/loss', *names])]
  for round_num, (loss, *more) in enumerate(zip(losses, *others.values(), strict=True), start=first_round):
    measured = 'nan,nan,nan,nan' if loss is None else f'0.1,{loss},0.1,{loss}'
    rows.append(','.join([f'{round_num},{steps if round_num else 0},{measured}', *map(str, more)]))
  (folder / 'metrics.csv').write_text('\n'.join(rows) + '\n')
  return folder


def results_of(tmp_path, losses):
  """Returns the results of a search whose runs have these losses in each round, by learning rate and seed."""

  def find(config):
    loss = losses[config.learning_rate][config.seed - 100]
    return write_run(tmp_path / f'{config.learning_rate}-{config.seed}', [loss] * (config.rounds + 1))

  return search.Results(find)


def test_a_trial_for_each_curve_and_point_but_not_for_each_seed(tmp_path):
  grid = read(tmp_path)
  assert grid.cells == []
  assert grid.target == 0.8
  assert grid.num_cells == 4 * (5 * 2 + 2)
  assert [str(trial) for trial in grid.trials] == [
    *('FedAvg, stragglers=0.0', 'FedAvg, stragglers=0.9', 'FedAdam, stragglers=0.0', 'FedAdam, stragglers=0.9')
  ]
  assert [(trial.partner, bool(trial.note)) for trial in grid.trials[1:3]] == [('', False), ('FedAvg', True)]
  assert grid.trials[0].start_values == {'learning_rate': 0.03}
  assert grid.trials[3].start_values == {'server_learning_rate': 0.1, 'tau': 0.001}


def test_the_runs_of_a_search_have_its_seeds_and_its_rounds(tmp_path):
  none = search.Results(lambda config: None)
  runs = [search.look(trial, none).runs for trial in read(tmp_path).trials[::3]]
  tried = [[(c.learning_rate, c.flat()['server_learning_rate'], c.flat().get('tau')) for c in of] for of in runs]
  assert tried[0] == [(0.03, 1.0, None), (0.0095, 1.0, None), (0.095, 1.0, None)]
  assert [each[1:] for each in tried[1]] == [(0.1, 1e-3), (0.01, 1e-3), (1.0, 1e-3), (0.1, 1e-4), (0.1, 1e-2)]
  assert {(c.seed, c.rounds, c.rounds_per_evaluation) for of in runs for c in of} == {(100, 20, 2)}
  assert {c.stragglers for c in runs[1]} == {0.9}


def test_the_cells_of_a_choice_are_the_configs_of_the_same_flags(tmp_path):
  flags = {'dataset': 'digits', 'rounds': 30, 'stragglers': 0.9, 'algorithm': 'fedadam', 'server_learning_rate': 1.0}
  cells = read(tmp_path).trials[3].cells({'server_learning_rate': 1.0, 'tau': 0.01})
  assert cells == [Config.from_flags({**flags, 'tau': 0.01, 'seed': seed}) for seed in (0, 1)]


def test_flags_overrule_the_cells_and_shorten_the_search_but_keep_its_seeds(tmp_path):
  quick = read(tmp_path, overrides={'rounds': '5', 'seed': '7', 'epochs': '2'}).trials[0]
  assert (quick.start.seed, quick.start.rounds, quick.start.epochs) == (100, 5, 2)
  assert [(c.seed, c.rounds, c.epochs) for c in quick.cells({'learning_rate': 0.1})] == [(7, 5, 2)]
  longer = read(tmp_path, overrides={'rounds': '500', 'rounds_per_evaluation': '3'}).trials[0]
  assert (longer.start.rounds, longer.start.rounds_per_evaluation) == (20, 3)
  assert {(c.rounds, c.rounds_per_evaluation) for c in longer.cells({'learning_rate': 0.1})} == {(500, 3)}


def test_each_run_may_have_a_federation_of_its_own(tmp_path):
  text = GRID.replace("dataset = 'digits'", "dataset = 'digits'\ndata_seed = 'seed'")
  trial = read(tmp_path, text).trials[0]
  assert trial.start.flat()['data_seed'] == 100
  assert [c.flat()['data_seed'] for c in trial.cells({'learning_rate': 0.1})] == [0, 1]
  trial = read(tmp_path, text, {'seed': '7'}).trials[0]
  assert [c.flat()['data_seed'] for c in trial.cells({'learning_rate': 0.1})] == [7]
  trial = read(tmp_path, text, {'data_seed': '3'}).trials[0]
  assert {c.flat()['data_seed'] for c in (trial.start, *trial.cells({'learning_rate': 0.1}))} == {3}


@pytest.mark.parametrize(
  ('losses', 'criterion'),
  [
    ([9.0] * 11 + [1.0, 2.0] * 5, 1.5),  # the last ten of rounds 0 to 20 alone count
    ([9.0] * 11 + [None, 2.0, None, 3.0] + [None] * 5 + [7.0], 4.0),  # of these, those that were evaluated
    ([9.0] * 9 + [8.0] + [None] * 11, 8.0),  # none was: the last one before
    ([1.0] * 21 + [0.0] * 5, 1.0),  # a run that went on beyond the search's rounds
    ([1.0] * 15 + ['nan'] + [1.0] * 5, math.inf),  # one that is not finite is enough
    ([1.0] * 20 + ['inf'], math.inf),
  ],
)
def test_the_criterion_is_the_mean_of_the_evaluated_among_the_last_ten_rounds(tmp_path, losses, criterion):
  config = read(tmp_path).trials[0].start
  result = search.measure(config, write_run(tmp_path / 'run', losses), 'train/loss')
  assert result == (pytest.approx(criterion), 7 * 20)


def test_round_0_is_before_training_and_does_not_count(tmp_path):
  trial = read(tmp_path, overrides={'rounds': '5'}).trials[0]
  folder = write_run(tmp_path / 'run', [9.0, 1.0, 2.0, 3.0, 4.0, 5.0])
  assert search.measure(trial.start, folder, 'train/loss') == (3.0, 5 * 7)
  trial = read(tmp_path, overrides={'rounds': '0'}).trials[0]
  assert search.measure(trial.start, write_run(tmp_path / 'run', [9.0]), 'train/loss') == (9.0, 0)


def test_own_models_can_be_the_criterion_and_the_global_one_where_there_are_none(tmp_path):
  config = read(tmp_path).trials[0].start
  losses, own = [3.0] * 21, [9.0] * 12 + ['nan', 2.0, 4.0] * 3
  folder = write_run(tmp_path / 'own', losses, personal__loss=own)
  assert search.measure(config, folder, 'train/loss').criterion == 3.0
  folder = write_run(tmp_path / 'own', losses, personal__loss=[9.0] * 11 + [2.0, 4.0] * 5)
  assert search.measure(config, folder, 'personal/loss').criterion == pytest.approx(3.0)
  test = [f'{x}' for x in [9.0] * 11 + [1.0, 2.0] * 5]
  folder = write_run(tmp_path / 'none', losses, personal__loss=['nan'] * 21)
  text = (folder / 'metrics.csv').read_text().splitlines()
  rows = [row.split(',') for row in text[1:]]
  rows = [','.join([*row[:3], loss, *row[4:]]) for row, loss in zip(rows, test, strict=True)]
  (folder / 'metrics.csv').write_text('\n'.join([text[0], *rows]) + '\n')
  assert search.measure(config, folder, 'personal/loss').criterion == pytest.approx(1.5)
  assert search.measure(config, folder, 'train/loss').criterion == 3.0


def test_a_run_whose_server_never_moved_has_diverged(tmp_path):
  """Its loss is finite, and may be the smallest."""
  config = read(tmp_path).trials[0].start
  folder = write_run(tmp_path / 'run', [1.0] * 21, cohort__skipped=[0, *[1] * 20])
  assert search.measure(config, folder, 'train/loss').criterion == math.inf
  folder = write_run(tmp_path / 'run', [1.0] * 21, cohort__skipped=[0, *[1] * 9, *[0] * 11])
  assert search.measure(config, folder, 'train/loss').criterion == 1.0


# By learning rate: the losses with both seeds. 0.095 is best with the first, 0.03 in the mean; 0.3 is left out.
LOSSES = {0.03: [1.25, 0.75], 0.0095: [1.5, 0.1], 0.095: [1.0, 1.6], 0.3: [9.0, 0.1]}


def test_a_choice_says_what_was_tried_and_what_it_took(tmp_path):
  trial = read(tmp_path).trials[1]
  choice = search.look(trial, results_of(tmp_path, LOSSES)).choice
  assert (choice.values, choice.ends) == ({'learning_rate': 0.03}, {})
  steps = 20 * 7
  assert [(*tried.values.values(), *tried[1:]) for tried in choice.tried] == [
    (0.03, 1.0, 2, 2 * steps),
    (0.0095, pytest.approx(1.5), 1, steps),
    (0.095, pytest.approx(1.3), 2, 2 * steps),
  ]
  assert (choice.runs, choice.local_steps) == (5, 5 * steps)
  assert [config.learning_rate for config in choice.cells] == [0.03] * 2
  assert str(choice) == ('FedAvg, stragglers=0.9: learning_rate=0.03, train/loss 1 (3 points, 5 runs, 700 local steps)')


def test_the_same_runs_lead_to_the_same_choice_in_any_order(tmp_path):
  trial, whole, done = read(tmp_path).trials[0], results_of(tmp_path, LOSSES), []

  class Known(search.Results):
    def of(self, config, criterion):
      return whole.of(config, criterion) if config in done else None

  while missing := [c for c in search.look(trial, Known(None)).runs if c not in done]:
    done.append(missing[-1])  # the last first
  assert search.look(trial, Known(None)) == search.look(trial, whole)
  assert len(done) == 5


def test_a_run_is_read_once(tmp_path):
  config, found = read(tmp_path).trials[0].start, []
  folder = write_run(tmp_path / 'run', [1.0] * 21)
  results = search.Results(lambda config: found.append(config) or folder)
  assert results.of(config, 'train/loss') == results.of(config, 'train/loss')
  assert len(found) == 1
  assert results.of(config, 'personal/loss').criterion == 1.0
  assert len(found) == 2


def test_choices_in_a_file(tmp_path):
  grid = read(tmp_path)
  first = search.look(grid.trials[1], results_of(tmp_path, LOSSES)).choice
  none_converges = {value: ['inf', 'inf'] for value in (0.03, 0.0095, 0.095, 0.003)}
  diverged = search.look(grid.trials[0], results_of(tmp_path, none_converges)).choice
  assert (diverged.values, diverged.ends) == ({'learning_rate': 0.003}, {'learning_rate': 'limit'})
  assert 'learning_rate=0.003 (end of learning_rate: limit), train/loss diverged' in str(diverged)
  search.write(tmp_path / 'choices.csv', [first, diverged])
  with (tmp_path / 'choices.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert list(rows[0]) == ['curve', 'stragglers', 'values', 'train/loss', 'seeds', 'chosen', 'end', 'local_steps']
  assert [list(row.values()) for row in rows[:2]] == [
    ['FedAvg', '0.9', 'learning_rate=0.03', '1.0', '2', '1', '', '280'],
    ['FedAvg', '0.9', 'learning_rate=0.0095', '1.5', '1', '0', '', '140'],
  ]
  assert [(row['values'], row['train/loss'], row['end']) for row in rows if row['chosen'] == '1'][1:] == [
    ('learning_rate=0.003', 'inf', 'learning_rate: limit')
  ]
  assert search.in_words({'learning_rate': 0.03, 'beta': 0.1}) == 'learning_rate=0.03, beta=0.1'


LADDER = 'learning_rate = { start = 0.03, factor = 3.1623, low = 1e-3, high = 1.0 }'
PERSONAL = "criterion = 'personal/loss'"


@pytest.mark.parametrize(
  ('old', 'new', 'said'),
  [
    ('seeds = [100, 101]\n', '', ['[search] seeds: a list of different seeds is needed that no cell has']),
    ('seeds = [100, 101]', 'seeds = 100', ['[search] seeds = 100: a list']),
    ('seeds = [100, 101]', 'seeds = []', ['[search] seeds = []: a list']),
    ('seeds = [100, 101]', 'seeds = [100, 100]', ['[search] seeds = [100, 100]: a list of different seeds']),
    ('seeds = [100, 101]', 'seeds = [100, 1]', ['[search] seeds: cells have 1 too']),
    ('seeds = [100, 101]', 'seeds = [-1]', ['[search] --seed=-1']),
    ('seeds = [100, 101]', 'seeds = [1.5]', ['[search] --seed=1.5']),
    ('rounds = 20', 'rounds = [20, 30]', ['[search] rounds: one number']),
    ('rounds_per_evaluation = 2', 'rounds_per_evaluation = 0', ['[search] --rounds_per_evaluation=0']),
    ('most = 5\n', '', ['[search] most: a whole number of at least 3']),
    ('most = 5', 'most = 2', ['[search] most = 2: a whole number of at least 3']),
    ('most = 5', 'most = 5.0', ['[search] most = 5.0: a whole number']),
    ('most = 5', 'most = true', ['[search] most = True: a whole number']),
    ('within = 1.25\n', '', ['[search] within: a factor of at least 1']),
    ('within = 1.25', 'within = 0.99', ['[search] within = 0.99: a factor of at least 1']),
    ('within = 1.25', 'within = nan', ['[search] within = nan: a factor']),
    ('within = 1.25', "within = '2'", ['[search] within = 2: a factor']),
    ('most = 5', "most = 5\ncriterion = 'test/loss'",
     ['[search] criterion = test/loss: one of train/loss, personal/loss']),
    ('most = 5', f'most = 5\n{PERSONAL}', ['[search] criterion = personal/loss', 'data_seed = "seed" is needed']),
    (LADDER, '', ['[search] one or two flags with ladders are needed, such as learning_rate']),
    (LADDER, 'learning_rate = [0.1, 0.3]', ['[search] learning_rate: a ladder of start, factor, low, high']),
    (LADDER, 'learning_rate = 0.1', ['[search] learning_rate: a ladder of start, factor, low, high']),
    ('factor = 3.1623', 'factr = 3', ['[search] learning_rate: a ladder', 'factr is not allowed']),
    ('factor = 3.1623, ', '', ['[search] learning_rate: a ladder', 'such as learning_rate = {']),
    ('factor = 3.1623', 'factor = 3, number = 4', ['[search] learning_rate: a ladder', 'number is not allowed']),
    ('factor = 3.1623', 'factor = 1', ['[search] learning_rate: factor = 1: a number of at least 1.1']),
    ('factor = 3.1623', "factor = '3'", ['[search] learning_rate: factor = 3: a number is needed']),
    ('factor = 3.1623', 'factor = inf', ['[search] learning_rate: factor = inf: a number is needed']),
    ('low = 1e-3', 'low = 0.05', ['[search] learning_rate: start = 0.03: a number above 0 from low = 0.05']),
    ('low = 1e-3', 'low = 0', ['[search] learning_rate: start = 0.03: a number above 0 from low = 0']),
    ('high = 1.0 }\n[t', 'high = 0.02 }\n[t', ['[search] learning_rate: start = 0.03', 'to high = 0.02']),
    ('high = 1.0 }\n[t', 'high = 1e39 }\n[t', ['[search] --learning_rate=1e+39: in float32']),
    ('start = 0.03', 'start = 0.0316', ['start = 0.0316: a number of at most two significant digits']),
    ('low = 1e-3, high = 1.0', 'low = 0.02, high = 0.04', ['only 0.03 lies from low to high; at least two']),
    ('learning_rate = { start = 0.03', 'leaning_rate = { start = 0.03',
     ['[search] leaning_rate', 'did you mean learning_rate?']),
    ('learning_rate = { start = 0.03', 'results_dir = { start = 0.03', ['[search] results_dir: not in a grid']),
    ('learning_rate = { start = 0.03', 'seed = { start = 0.03', ['[search] seed: it cannot be searched for']),
    ('learning_rate = { start = 0.03', 'sampling = { start = 0.03', ['[search] sampling: a flag with numbers']),
    ('learning_rate = { start = 0.03', 'epochs = { start = 0.03', ['[search] --epochs=0.03: a whole number']),
    ('[target]', 'mu = 1\nbeta = 2\n[target]', ['[search] one or two flags', 'not learning_rate, mu, beta']),
    ('search = { server_learning_rate', 'search = { sever_learning_rate',
     ['[[curve]] FedAdam: search: sever_learning_rate', 'did you mean server_learning_rate?']),
    ('search = { server_learning_rate', 'search = { most = 3, server_learning_rate',
     ['[[curve]] FedAdam: search: one or two flags']),
    ('search = {', 'search = { most = 3 }\nunused = {', ['[[curve]] FedAdam: unused: no flag']),
    ('tau = { start = 0.001', 'within = { start = 0.001', ['FedAdam: search: within: only [search] has it']),
    ("search = {", "server_learning_rate = 1.0\nsearch = {", ['FedAdam: server_learning_rate: the search has it too']),
    ("rounds = 30", "rounds = 30\nlearning_rate = 1.0", ['[search] learning_rate: [base] has it too']),
    ("[grid]", "[grid]\ntau = [1.0]", ['[[curve]] FedAdam: search: tau: [grid] has it too']),
    ("'fedavg'", "'delta_sgd'", ['[[curve]] FedAvg: --learning_rate=0.03', 'finds its own step sizes']),
    ('accuracy = 0.8', 'accuracy = 80', ['[target] accuracy = 80: a share above 0']),
    ('accuracy = 0.8', 'loss = 0.8', ['[target] loss: only accuracy']),
    ('[search]', '[serach]', ['serach: a grid has only title, [base], [grid], [search], [target]']),
    ('most = 5', 'most = 9000', []),
  ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_what_is_allowed(tmp_path, old, new, said):
  assert old in GRID
  if not said:  # a large budget is none of it: the ladder ends before
    assert read(tmp_path, GRID.replace(old, new)).num_cells == 2 * (6 * 2 + 2) + 2 * (3 * 6 * 2 + 2)
    return
  with pytest.raises(UserError) as caught:
    read(tmp_path, GRID.replace(old, new))
  assert '\n' not in str(caught.value)
  for part in said:
    assert part in str(caught.value)


def test_a_curves_search_needs_the_section(tmp_path):
  for key, value in (('search', LADDER.join(['{ ', ' }'])), ('note', '"why"')):
    with pytest.raises(UserError, match=rf'\[\[curve\]\] a: {key}: a section \[search\] is needed'):
      read(tmp_path, f'[[curve]]\nname = "a"\n{key} = {value}')


def test_own_models_as_criterion_need_federations_of_the_searchs_own(tmp_path):
  text = GRID.replace("dataset = 'digits'", "dataset = 'digits'\ndata_seed = 'seed'")
  trial = read(tmp_path, text.replace('most = 5', f'most = 5\n{PERSONAL}')).trials[0]
  assert trial.section.criterion == 'personal/loss'


@pytest.mark.parametrize(
  ('overrides', 'said'),
  [
    ({'learning_rate': '0.1'}, '--learning_rate: the search of this grid finds it'),
    ({'server_learning_rate': '0.1'}, '--server_learning_rate: the search of this grid finds it'),
    ({'seed': '101'}, r'\[search\] seeds: cells have 101 too'),
  ],
)
def test_what_a_command_line_cannot_overrule(tmp_path, overrides, said):
  with pytest.raises(UserError, match=said):
    read(tmp_path, overrides=overrides)
