# SPDX-License-Identifier: Apache-2.0
"""What grids say of their figures: cells are runs, panels and curves are the paper's, any grid can be drawn."""

import pytest

from analysis import arguments
from analysis.read import cells, figures
from fedprox_tff.core.errors import UserError
from fedprox_tff.sweeps import grids

PLAIN = [path for path in grids.FOLDER.glob('*.toml') if path.stem not in arguments.COMPARISONS]

MINE = """
title = 'Mine'
[base]
dataset = 'digits'
[grid]
stragglers = [0.0, 0.9]
epochs = [1, 5, 20]
seed = [0, 1]
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
[[curve]]
name = 'FedProx, mu = 0.1'
mu = 0.1
"""


def identity(config):
  return {key: value for key, value in config.flat().items() if key not in cells.FREE}


def figure_of(tmp_path, text):
  path = tmp_path / 'mine.toml'
  path.write_text(text)
  return figures.read(path)


@pytest.mark.parametrize('path', PLAIN, ids=lambda path: path.stem)
def test_the_cells_of_a_figure_are_the_runs_of_its_grid(path):
  grid, figure = grids.read(path), figures.read(path)
  made = [identity(cell.config) for cell in figure.cells]
  runs = [identity(cell.config) for cell in grid.cells]
  assert all(made.count(each) == 1 for each in made)
  assert all(each in runs for each in made)
  if not (grid.figure and grid.figure.panels):
    assert all(each in made for each in runs)
  assert len({(cell.row, cell.column, cell.curve) for cell in figure.cells}) == len(figure.cells)
  by_place = [[cell.curve for cell in figure.cells if cell.panel == panel] for panel in {c.panel for c in figure.cells}]
  assert len({len(curves) for curves in by_place}) == 1  # FedProx's best mu is another one in each column of Figure 1
  is_papers = all(cell.grid.startswith('figure') and not cell.grid.endswith('_small') for cell in grid.cells)
  seeds = {cell.config.seed for cell in grid.cells}
  assert seeds == set(range(len(seeds)))
  assert len(seeds) == 5 or not is_papers


@pytest.mark.parametrize(
  ('name', 'panels', 'curves'),
  [
    *(
      ('figure1', 9, 4),
      ('figure1_paper', 15, 5),
      ('figure2', 8, 2),
      ('figure3', 2, 3),
      ('figure5', 6, 2),
      ('figure6', 12, 2),
      ('figure7', 9, 4),
    ),
    *(('figure8', 2, 2), ('figure9', 6, 3), ('figure10', 6, 3), ('figure11', 4, 3), ('figure12', 12, 4)),
  ],
)
def test_panels_and_curves_are_those_of_the_paper(name, panels, curves):
  figure = figures.read(arguments.FIGURES[name])
  assert len(figure.rows) * len(figure.columns) == panels
  assert len({cell.curve for cell in figure.cells}) == curves


def test_adverse_starts_are_those_of_the_paper():
  flat = [cell.config.flat() for cell in figures.read(arguments.FIGURES['figure11']).cells]
  adaptive = [config for config in flat if config['mu'] == 'adaptive']
  assert [(config['synthetic_iid'], config['initial_mu']) for config in adaptive] == [(True, 1.0)] + 3 * [(False, 0.0)]


def test_a_grid_that_says_nothing_has_a_panel_for_each_point_of_its_lists_and_a_curve_for_each_of_its_curves(tmp_path):
  figure = figure_of(tmp_path, MINE)
  assert figure.title == 'Mine'
  assert [row.y for row in figure.rows] == ['test/accuracy', 'train/loss']
  shares = ('No stragglers', '90 % stragglers')
  assert figure.columns == [f'{share}, $E$ = {epochs}' for share in shares for epochs in (1, 5, 20)]
  assert [cell.curve for cell in figure.cells[:2]] == ['FedAvg', r'FedProx, $\mu$ = 0.1']
  assert figure.baseline == 'FedAvg'
  assert figure.papers_gain_at is None


def test_lists_of_many_points_or_without_curves_tell_curves_apart(tmp_path):
  figure = figure_of(tmp_path, MINE.replace('[1, 5, 20]', '[1, 2, 5, 10]'))
  assert figure.columns == ['']
  assert figure.cells[1].curve == 'FedAvg, no stragglers, $E$ = 2'
  figure = figure_of(tmp_path, '[grid]\nmu = [0.0, 1.0]\nseed = [0, 1]')
  assert [cell.curve for cell in figure.cells] == [r'FedProx, $\mu$ = 0', r'FedProx, $\mu$ = 1']
  assert figure_of(tmp_path, '[base]\nalgorithm = "scaffold"').cells[0].curve == 'SCAFFOLD'


def test_a_section_says_what_is_drawn(tmp_path):
  panels = """
[[panel]]
name = 'Even'
partition = 'iid'
limits = { 'train/loss' = [0.0, 2.5] }
[[panel]]
name = 'Two digits'
partition = 'shards'
[figure]
title = 'Split'
y = ['train/loss', 'mu']
rows = 'stragglers'
columns = 'epochs'
baseline = 'FedProx, mu = 0.1'
panels = ['Two digits', 'Even']
"""
  figure = figure_of(tmp_path, MINE + panels)
  assert figure.title == 'Split'
  assert figure.columns == [f'{panel}, $E$ = {epochs}' for panel in ('Two digits', 'Even') for epochs in (1, 5, 20)]
  assert figure.rows == [
    ('train/loss', 'No stragglers'),
    ('mu', 'No stragglers'),
    ('train/loss', '90 % stragglers'),
    ('mu', '90 % stragglers'),
  ]
  assert figure.limits['Even, $E$ = 5'] == {'train/loss': (0.0, 2.5)}
  assert figure.limits['Two digits, $E$ = 5'] == {}
  assert figure.baseline == r'FedProx, $\mu$ = 0.1'
  assert len(figure.cells) == 2 * 2 * 3 * 2
  of_shards = [cell.config.partition.name for cell in figure.cells[:12]]
  assert of_shards == ['shards'] * 12


def test_runs_of_one_curve_differ_in_their_seeds_alone(tmp_path):
  two = (
    '[base]\ndataset = "digits"\n[[panel]]\nname = "A"\nepochs = {}\n[[curve]]\nname = "FedAvg"\nalgorithm = "fedavg"'
  )
  for name, epochs in (('one', 1), ('two', 2)):
    (tmp_path / f'{name}.toml').write_text(two.format(epochs))
  with pytest.raises(
    UserError, match=r'mine.toml: \[figure\]: runs of A, FedAvg differ in epochs; a panel, curve, row '
  ):
    figure_of(tmp_path, "[figure]\ngrids = ['one', 'two']")


def test_each_seed_of_a_curve_may_have_a_federation_of_its_own(tmp_path):
  own = '[base]\ndataset = "digits"\ndata_seed = "seed"\n[grid]\nseed = [0, 1]\n[figure]'
  (cell,) = figure_of(tmp_path, own).cells
  assert cell.config.flat()['data_seed'] == 0
  for name, seed in (('one', 3), ('two', 4)):
    (tmp_path / f'{name}.toml').write_text(f'[base]\ndataset = "digits"\ndata_seed = {seed}')
  with pytest.raises(UserError, match='differ in data_seed; a panel'):
    figure_of(tmp_path, "[figure]\ngrids = ['one', 'two']")
