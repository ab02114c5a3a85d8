# SPDX-License-Identifier: Apache-2.0
"""The figures' definitions against the grids that make their runs."""

import pytest

from analysis import arguments
from analysis.read import figure_runs
from analysis.read.figures import FIGURES, VARIANCE
from fedprox_tff.sweeps import grids

SEEDS = 5


def differing(cell, config):
  return set(cell.config.differences(config.flat())) - figure_runs.FREE


@pytest.mark.parametrize('name', FIGURES)
def test_grids_make_the_runs_of_all_curves(name):
  figure = FIGURES[name]
  for cell in figure_runs.cells_of(figure):
    configs = [grid_cell.config for grid_cell in grids.read(grids.find(figure.grid_of(cell.column))).cells]
    matching = [config for config in configs if not differing(cell, config)]
    assert sorted(config.seed for config in matching) == list(range(SEEDS)), str(cell)
    assert {config.rounds for config in matching} == {cell.column.rounds}
    assert {config.rounds_per_evaluation for config in matching} == {1}
    if any(row.y == VARIANCE for row in figure.rows):
      assert all(config.rounds_per_dissimilarity for config in matching)


def test_each_run_of_a_grid_is_in_a_figure():
  made = {}
  for figure in FIGURES.values():
    for cell in figure_runs.cells_of(figure):
      made.setdefault(figure.grid_of(cell.column), []).append(cell)
  files = {path.stem for path in grids.FOLDER.glob('*.toml')}
  assert files - arguments.COMPARISONS.keys() == made.keys()
  for name, grid_cells in made.items():
    for run in grids.read(grids.find(name)).cells:
      assert any(not differing(cell, run.config) for cell in grid_cells), run


@pytest.mark.parametrize(
  ('name', 'panels', 'curves'),
  [
    *(
      ('figure1', 6, 3),
      ('figure2', 8, 2),
      ('figure3', 2, 3),
      ('figure5', 6, 2),
      ('figure6', 12, 2),
      ('figure7', 6, 3),
    ),
    *(('figure8', 2, 2), ('figure9', 6, 3), ('figure10', 6, 3), ('figure11', 4, 3), ('figure12', 12, 4)),
  ],
)
def test_panels_and_curves_are_those_of_the_paper(name, panels, curves):
  figure = FIGURES[name]
  assert len(figure.rows) * len(figure.columns) == panels
  assert len(figure.curves) == curves


def test_adverse_starts_are_those_of_the_paper():
  adaptive = [
    cell.config for cell in figure_runs.cells_of(FIGURES['figure11']) if cell.config.flat().get('mu') == 'adaptive'
  ]
  assert [(config.synthetic_iid, config.initial_mu) for config in adaptive] == [(True, 1.0)] + 3 * [(False, 0.0)]
