# SPDX-License-Identifier: Apache-2.0
"""Grids: their cells, and every way in which a file can be wrong, said with file, key and what is allowed."""

import itertools

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grids

GRID = """
title = 'three methods'
[base]
dataset = 'digits'
rounds = 3
[grid]
stragglers = [0.0, 0.5]
seed = [0, 1]
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
[[curve]]
name = 'FedProx, mu = 0'
mu = 0.0
[[curve]]
name = 'FedProx, one long'
mu = 1
rounds = 5
"""


def read(tmp_path, text, overrides=None):
  path = tmp_path / 'my.toml'
  path.write_text(text)
  return grids.read(path, overrides)


def configs(grid):
  return [cell.config for cell in grid.cells]


def message(tmp_path, text, overrides=None):
  with pytest.raises(UserError) as caught:
    read(tmp_path, text, overrides)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_the_cells_are_the_product_of_the_lists_for_each_curve(tmp_path):
  grid = read(tmp_path, GRID)
  assert (grid.name, grid.title, len(grid.cells)) == ('my', 'three methods', 12)
  points = [(c.curve, *map(c.config.flat().get, ('algorithm', 'mu', 'rounds', 'stragglers', 'seed')))
            for c in grid.cells]  # fmt: skip
  curves = [
    ('FedAvg', 'fedavg', None, 3),
    ('FedProx, mu = 0', 'fedprox', 0.0, 3),
    ('FedProx, one long', 'fedprox', 1.0, 5),
  ]
  assert points == [(*curve, s, seed) for curve, s, seed in itertools.product(curves, (0.0, 0.5), (0, 1))]
  assert {c.config.dataset.name for c in grid.cells} == {'digits'}


def test_a_cell_is_the_config_of_the_same_flags(tmp_path):
  cell = read(tmp_path, GRID).cells[5]
  flags = {'dataset': 'digits', 'rounds': '3', 'mu': '0', 'stragglers': '0', 'seed': '1'}
  assert cell.config == Config.from_flags(flags)


def test_base_alone_is_one_cell(tmp_path):
  assert [c.config for c in read(tmp_path, '[base]\nrounds = 7').cells] == [Config.from_flags({'rounds': 7})]


def test_cells_of_several_grids_are_run_once(tmp_path):
  first = configs(read(tmp_path, GRID))
  second = configs(read(tmp_path, '[base]\ndataset = "digits"\nrounds = 3\n[grid]\nmu = [0.0, 2.0]'))
  runs = grids.merge([*first, *second])
  assert len(runs) == 13
  assert runs == [*first, second[1]]


def test_two_configs_never_share_a_folder(tmp_path):
  a = configs(read(tmp_path, '[base]\ndataset = "leaf"\ndata_dir = "/a/femnist"'))
  b = configs(read(tmp_path, '[base]\ndataset = "leaf"\ndata_dir = "/b/femnist"'))
  with pytest.raises(UserError, match='--data_dir=/a/femnist and --data_dir=/b/femnist'):
    grids.merge([*a, *b])


def test_what_does_not_change_results_does_not_make_another_run(tmp_path):
  a = configs(read(tmp_path, '[base]\nrounds_per_checkpoint = 5'))
  b = configs(read(tmp_path, '[base]\nrounds_per_checkpoint = 9'))
  assert [config.rounds_per_checkpoint for config in grids.merge([*a, *b])] == [5]


def test_the_longest_of_runs_that_differ_in_rounds_continues_the_others(tmp_path):
  made = configs(read(tmp_path, '[grid]\nrounds = [5, 9, 7]\nseed = [0, 1]'))
  assert [(config.rounds, config.seed) for config in grids.merge(made)] == [(9, 0), (9, 1)]


def test_flags_overrule_the_file(tmp_path):
  cells = read(tmp_path, GRID, {'rounds': '2', 'seed': '7'}).cells
  assert {(c.config.rounds, c.config.seed) for c in cells} == {(2, 7)}
  assert len(grids.merge(cell.config for cell in cells)) == 6


def test_a_target_has_a_column(tmp_path):
  own = read(tmp_path, '[target]\naccuracy = 0.5\nranked_by = "personal/accuracy"')
  assert (own.target, own.ranked_by) == (0.5, 'personal/accuracy')
  assert read(tmp_path, '[target]\naccuracy = 1').ranked_by == 'test/accuracy'


def test_one_data_dir_is_for_the_data_sets_that_have_one(tmp_path):
  cells = read(tmp_path, '[grid]\ndataset = ["mnist", "synthetic"]', {'data_dir': '/data'}).cells
  assert [c.config.flat().get('data_dir') for c in cells] == ['/data', None]


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('[base]\nround = 3', ['[base] round', 'did you mean rounds?']),
    ('[grid]\nxyzzy = [1]', ['[grid] xyzzy', 'allowed are dataset, ']),
    ('[[curve]]\nname = "a"\nleaning_rate = 1.0', ['[[curve]] a: leaning_rate', 'did you mean learning_rate?']),
    ('[base]\nrounds = -3', ['[base] --rounds=-3', 'a whole number of at least 0']),
    ('[base]\nrounds = 1.5', ['[base] --rounds=1.5', 'a whole number']),
    ('[base]\nrounds = true', ['[base] --rounds=True', 'a whole number']),
    ('[base]\ndataset = "mnits"', ['[base] --dataset=mnits', 'one of ']),
    ('[base]\nstragglers = [0.5]', ['[base] stragglers', 'one number']),
    ('[base]\nclient_optimizer = "sgd:lr=1"', ['[base] --client_optimizer', 'momentum']),
    ('[grid]\nstragglers = [0.5, 1.5]', ['[grid] --stragglers=1.5', 'from 0 to 1']),
    ('[grid]\nstragglers = 0.5', ['[grid] stragglers', 'a list of values']),
    ('[grid]\nstragglers = []', ['[grid] stragglers', 'a list of values']),
    ('[grid]\nseed = [[0, 1]]', ['[grid] seed', 'one number']),
    ('[[curve]]\nname = "a"\nmu = -1.0', ['[[curve]] a: --mu=-1.0', 'at least 0']),
    ('[[curve]]\nname = "a"\nalgorithm = "fedavg"\nmu = 1.0', ['[[curve]] a: --mu=1.0', 'fedavg does not use it']),
    (
      '[base]\ndataset = "digits"\nnum_clients = 9\nclients_per_round = 10',
      ['--clients_per_round=10', 'at most the 9 clients'],
    ),
    ('[[curve]]\nmu = 1.0', ['[[curve]] number 1', 'a name is needed']),
    ('curve = [3]', ['[[curve]] number 1', 'a table']),
    ('[[curve]]\nname = "a"\n[[curve]]\nname = "a"', ['[[curve]] a', 'two curves']),
    ('[base]\nseed = 1\n[grid]\nseed = [1, 2]', ['[grid] seed', '[base] has it too']),
    ('[grid]\nmu = [1.0]\n[[curve]]\nname = "a"\nmu = 0.0', ['[[curve]] a: mu', '[grid] has it too']),
    (
      '[bsae]\nrounds = 3',
      ['bsae', 'only title, [base], [grid], [search], [target], [[panel]], [[curve]] and [figure]'],
    ),
    ('[target]\naccuracy = true', ['[target] accuracy = True', 'a share above 0']),
    ('[target]\naccuracy = 0', ['[target] accuracy = 0', 'a share above 0']),
    (
      '[target]\naccuracy = 0.5\nranked_by = "train/accuracy"',
      ['[target] ranked_by = train/accuracy: test/accuracy or personal/accuracy is needed'],
    ),
    ('[target]\nranked_by = "personal/accuracy"', ['[target]: an accuracy is needed']),
    ('[target]\nrankde_by = 3', ['[target] rankde_by: only accuracy and ranked_by are allowed']),
    ('[curve]\nname = "a"', ['curve', '[[curve]], a list of tables']),
    ('base = 3', ['base', '[base]']),
    ('title = 3', ['title', 'text is needed']),
    ('[base]\nname = "run"', ['[base] name', 'named after what differs']),
    ('[base]\nresults_dir = "there"', ['[base] results_dir', 'command line']),
    ('[base]\nfallback_dataset = "digits"', ['[base] fallback_dataset', 'data that it names']),
    ('[base\nrounds = 3', ['line 1']),
    ('[base]\ndataset = "leaf"\ndata_dir = "/' + 'a' * 232 + '"', ['so long a name']),
  ],
)
def test_what_is_wrong_is_said_with_file_and_key_and_what_is_allowed(tmp_path, text, said):
  got = message(tmp_path, text)
  assert got.startswith(f'{tmp_path / "my.toml"}: ')
  for part in said:
    assert part in got


def test_a_file_that_is_no_text_is_said(tmp_path):
  (tmp_path / 'my.toml').write_bytes(b'\xff\xfe')
  with pytest.raises(UserError, match=r'my\.toml'):
    grids.read(tmp_path / 'my.toml')


@pytest.mark.parametrize(
  ('overrides', 'said'),
  [({'name': 'run'}, 'named after'), ({'fallback_dataset': 'digits'}, 'not for a sweep'), ({'mu': 'x'}, '--mu=x')],
)
def test_flags_that_cannot_overrule_are_said(overrides, said):
  with pytest.raises(UserError, match=said):
    grids.check_overrides(overrides)


def test_a_grid_is_found_by_name_and_by_path(tmp_path):
  path = grids.FOLDER / 'figure1_mnist.toml'
  assert grids.find('figure1_mnist') == grids.find('figure1_mnist.toml') == grids.find(str(path)) == path
  with pytest.raises(UserError, match=r'figure99: no such grid.*figure1_mnist'):
    grids.find('figure99')


def test_data_seed_may_be_the_seed(tmp_path):
  text = '[base]\ndataset = "digits"\ndata_seed = "seed"\n[grid]\nseed = [0, 4]\n'
  for content, seeds in ((text, [0, 4]), (text + '[[curve]]\nname = "a"\ndata_seed = 2', [2, 2])):
    assert [config.flat()['data_seed'] for config in configs(read(tmp_path, content))] == seeds
  for overrides, data_seed in (({'seed': '7'}, 7), ({'data_seed': '3'}, 3)):
    made = configs(read(tmp_path, '[base]\ndataset = "digits"\ndata_seed = "seed"', overrides))
    assert [config.flat()['data_seed'] for config in made] == [data_seed]
  [config] = configs(read(tmp_path, '[base]\ndataset = "digits"\ndata_seed = "seed"'))
  assert config == Config.from_flags({'dataset': 'digits'})  # the seed's default, 0


CURVES = """
[base]
dataset = 'digits'
[grid]
stragglers = [0, 0.5]
weighting = ['uniform', 'examples']
seed = [0, 1]
[[curve]]
name = 'a'
[[curve]]
name = 'b'
mu = 0
partner = 'a'
only = { weighting = ['uniform'], stragglers = [0.5] }
"""
SECTION = """
[search]
seeds = [9]
most = 3
within = 1
learning_rate = { start = 0.1, factor = 10, low = 0.01, high = 1.0 }
"""


def test_a_curve_may_exist_at_some_points_only(tmp_path):
  cells = read(tmp_path, CURVES).cells
  points = [(c.config.stragglers, c.config.weighting, c.config.seed) for c in cells if c.curve == 'b']
  assert points == [(0.5, 'uniform', 0), (0.5, 'uniform', 1)]
  assert len(cells) == 8 + 2
  assert {(c.curve, c.partner) for c in cells} == {('a', ''), ('b', 'a')}
  trials = read(tmp_path, SECTION + CURVES).trials
  assert [str(trial) for trial in trials[3:]] == [
    'a, stragglers=0.5, weighting=examples',
    'b, stragglers=0.5, weighting=uniform',
  ]
  assert [trial.partner for trial in trials[3:]] == ['', 'a']


@pytest.mark.parametrize(
  ('old', 'new', 'said'),
  [
    ("partner = 'a'", "partner = 'b'", ['[[curve]] b: partner = b', 'there are a']),
    ("partner = 'a'", "partner = 'c'", ['[[curve]] b: partner = c', 'there are a']),
    ("partner = 'a'", "partner = ''", ['[[curve]] b: partner = : the name of another curve']),
    ("partner = 'a'", "partner = ['a']", ["[[curve]] b: partner = ['a']"]),
    ("name = 'a'", "name = 'a'\nonly = { weighting = ['examples'] }",
     ['[[curve]] b: partner = a: it does not exist at stragglers = 0.5, weighting = uniform']),
    ("name = 'a'", "name = 'a'\npartner = 'b'", ['[[curve]] a: partner = b: it does not exist at stragglers = 0']),
    ("{ weighting = ['uniform'], stragglers = [0.5] }", "{ mu = [0] }",
     ['[[curve]] b: only: mu: a flag with a list in [grid]', 'there are stragglers, weighting']),
    ("{ weighting = ['uniform'], stragglers = [0.5] }", "{ seed = [0] }", ['[[curve]] b: only: seed: a flag']),
    ("{ weighting = ['uniform'], stragglers = [0.5] }", "{}", ['[[curve]] b: only: a table of lists']),
    ("{ weighting = ['uniform'], stragglers = [0.5] }", "'uniform'", ['[[curve]] b: only: a table of lists']),
    ("['uniform'], stragglers", "'uniform', stragglers", ['[[curve]] b: only: weighting: a list of values']),
    ("stragglers = [0.5] }", "stragglers = [0.25] }", ['only: stragglers = 0.25: [grid] has 0, 0.5.']),
    ("stragglers = [0.5] }", "stragglers = [5] }", ['[[curve]] b: only: --stragglers=5']),
    ("mu = 0", "data_seed = 'seed'", ['[[curve]] b: --data_seed=seed: a whole number']),
    ("seed = [0, 1]", "data_seed = ['seed']", ['[grid] --data_seed=seed: a whole number']),
    ("dataset = 'digits'", "epochs = 'seed'", ['[base] --epochs=seed: a whole number']),
    ("mu = 0", "note = ''", ["[[curve]] b: note: one line of text is needed, not ''"]),
    ("mu = 0", "note = 3", ['[[curve]] b: note: one line of text']),
    ("mu = 0", "note = \"a\\nb\"", ['[[curve]] b: note: one line of text']),
    ("mu = 0", "note = 'why'", ['[[curve]] b: note: a section [search] is needed']),
  ],
)  # fmt: skip
def test_what_is_wrong_with_curves_is_said(tmp_path, old, new, said):
  assert old in CURVES
  got = message(tmp_path, CURVES.replace(old, new))
  for part in said:
    assert part in got


def test_a_grid_with_too_many_runs_of_searches_is_refused(tmp_path):
  text = SECTION.replace('[9]', str(list(range(9, 2009)))) + CURVES
  assert '30,010 cells; a grid of at most 20,000' in message(tmp_path, text)  # 5 trials of 3 points, and 2 cells each


# The paper's figures: how many cells, and what each of their panels must hold.
@pytest.mark.parametrize(
  ('name', 'num_cells', 'panels'),
  [
    ('figure1_mnist', 45, 3 * 3),
    ('figure1_synthetic', 45, 3 * 3),
    ('figure2', 40, 4 * 2),
    ('figure3', 30, 2 * 3),
    ('figure5', 30, 3 * 2),
    ('figure8_mnist', 10, 2),
    ('figure9_mnist', 45, 3 * 3),
    ('figure9_synthetic', 45, 3 * 3),
    ('figure11', 60, 4 * 3),
    ('figure12', 80, 4 * 2 * 2),
    ('flower_mnist', 45, 3 * 3),
  ],
)
def test_each_figure_has_five_seeds_of_each_curve(name, num_cells, panels):
  cells = grids.read(grids.find(name)).cells
  assert len(grids.merge(cell.config for cell in cells)) == len(cells) == num_cells
  without_seeds = {str({k: v for k, v in c.config.flat().items() if k not in ('seed', 'name')}) for c in cells}
  assert len(without_seeds) == panels
  assert {c.config.seed for c in cells} == set(range(5))


def test_figures_share_the_cells_that_they_have_in_common():
  names = ('figure2', 'figure3', 'figure5', 'figure11', 'figure12', 'figure1_synthetic')
  runs = {name: {c.config.name for c in grids.read(grids.find(name)).cells} for name in names}
  assert runs['figure3'] < runs['figure11']
  assert runs['figure2'] < runs['figure12']
  assert len(runs['figure2'] & runs['figure11']) == 40
  assert len(runs['figure2'] & runs['figure1_synthetic']) == 10
  assert len(runs['figure2'] & runs['figure5']) == 5


PANELS = """
[[panel]]
name = 'Even'
partition = 'iid'
[[panel]]
name = 'Two'
partition = 'shards'
[[curve]]
name = 'a'
mu = { Even = 1.0, Two = 0.5 }
[[curve]]
name = 'b'
"""


def test_panels_are_multiplied_with_curves_and_a_value_may_be_a_panels(tmp_path):
  cells = read(tmp_path, '[base]\ndataset = "digits"\n[grid]\nseed = [0, 1]' + PANELS).cells
  flat = [(c.panel, c.curve, c.config.partition.name, *map(c.config.flat().get, ('mu', 'seed'))) for c in cells]
  assert flat == [
    *(
      ('Even', 'a', 'iid', 1.0, 0),
      ('Even', 'a', 'iid', 1.0, 1),
      ('Even', 'b', 'iid', 1.0, 0),
      ('Even', 'b', 'iid', 1.0, 1),
    ),
    *(('Two', 'a', 'shards', 0.5, 0), ('Two', 'a', 'shards', 0.5, 1)),
    *(('Two', 'b', 'shards', 1.0, 0), ('Two', 'b', 'shards', 1.0, 1)),
  ]


def test_a_figure_of_other_grids_has_their_cells(tmp_path):
  for name in ('one', 'two'):
    (tmp_path / f'{name}.toml').write_text(
      f'[base]\ndataset = "digits"\n[[panel]]\nname = "{name}"\nepochs = {len(name)}'
    )
  grid = read(tmp_path, "title = 'Both'\n[figure]\ngrids = ['two', 'one']\npanels = ['one']", {'rounds': '2'})
  assert (grid.name, grid.title) == ('my', 'Both')
  assert [(cell.grid, cell.panel, cell.config.rounds) for cell in grid.cells] == [('two', 'two', 2), ('one', 'one', 2)]


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('[[panel]]\nepochs = 3', ['[[panel]] number 1', 'a name is needed']),
    ('[[panel]]\nname = "a"\n[[panel]]\nname = "a"', ['[[panel]] a', 'two panels']),
    ('[[panel]]\nname = "a"\nepoch = 3', ['[[panel]] a: epoch', 'did you mean epochs?']),
    ('[[panel]]\nname = "a"\nlimits = 3', ['[[panel]] a: limits', 'a table is needed']),
    ('[[panel]]\nname = "a"\nlimits = { loss = [0, 1] }', ['[[panel]] a: limits: loss', 'there are round_num']),
    ('[[panel]]\nname = "a"\nlimits = { mu = [0, inf] }', ['[[panel]] a: limits: mu', 'two rising numbers']),
    ('[[panel]]\nname = "a"\nlimits = { mu = [1, 0] }', ['[[panel]] a: limits: mu', 'two rising numbers']),
    ('[grid]\nepochs = [1]\n[[panel]]\nname = "a"\nepochs = 3', ['[[panel]] a: epochs', '[grid] has it too']),
    (
      '[[panel]]\nname = "a"\nepochs = 3\n[[curve]]\nname = "b"\nepochs = 3',
      ['[[curve]] b: epochs', '[[panel]] a has it too'],
    ),
    (PANELS.replace('Two = 0.5', 'Too = 0.5'), ['[[curve]] a: mu', 'there are Even, Two']),
    (PANELS.replace('Two = 0.5', 'Two = -0.5'), ['[[curve]] a: --mu=-0.5']),
    ('[[panel]]\nname = "a"\n[search]\nseeds = [9]', ['[[panel]]', 'a grid with [search]']),
    ('[figure]\nrow = "mu"', ['[figure] row', 'allowed are title, y, rows']),
    ('[figure]\ny = "mu"', ['[figure] y', 'a list of texts']),
    ('[figure]\ny = ["loss"]', ['[figure] y', 'there are round_num']),
    ('[figure]\nrows = 3', ['[figure] rows', 'text is needed']),
    ('[grid]\nepochs = [1]\n[figure]\nrows = "mu"', ['[figure] rows: mu', 'there are epochs']),
    ('[grid]\nmu = [1]\n[figure]\nrows = "mu"\ncolumns = "mu"', ['[figure] columns: mu has the rows']),
    (PANELS + '[figure]\nbaseline = "c"', ['[figure] baseline: c', 'there are a, b']),
    (PANELS + '[figure]\npanels = ["c"]', ['[figure] panels: c', 'there are Even, Two']),
    ('[figure]\npapers_gain_at = 2', ['[figure] papers_gain_at = 2', 'a share']),
    ('[figure]\ngrids = ["figure7"]', ['[figure] grids: figure7 has no cells of its own']),
    ('[figure]\ngrids = ["my"]', ['[figure] grids: my has no cells of its own']),
    ('[figure]\ngrids = ["methods_mnist"]', ['[figure] grids: methods_mnist has a [search]']),
    ('[figure]\ngrids = ["xyzzy"]', ['xyzzy: no such grid']),
    ('[base]\nepochs = 3\n[figure]\ngrids = ["figure2"]', ['[figure] grids', '[base] has no use here']),
  ],
)
def test_what_is_wrong_with_panels_and_figures_is_said(tmp_path, text, said):
  got = message(tmp_path, text)
  assert got.startswith(f'{tmp_path / "my.toml"}: ')
  for part in said:
    assert part in got
