# SPDX-License-Identifier: Apache-2.0
"""The FedProx paper's figures (Li et al., arXiv:1812.06127), as data: rows, columns, quantities and curves.

A cell's config is what its column, its row and its curve say; all else has the default that the flags have. To add a
data set, add a line to `_DATA_SETS`; each of its figures then reads the runs of a grid of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

LOSS, ACCURACY, VARIANCE = 'train/loss', 'test/accuracy', 'dissimilarity/variance'
BEST, ADVERSE = '(best mu)', '(adverse mu)'  # in a curve: its column's value


class Row(NamedTuple):
  """A row of panels."""

  y: str  # the column of metrics.csv
  label: str = ''
  select: Mapping[str, Any] = {}


class Column(NamedTuple):
  """A column of panels."""

  label: str
  select: Mapping[str, Any]
  rounds: int
  best_mu: float = 1.0  # the paper's choice of {0.001, 0.01, 0.1, 1}
  adverse_mu: float = 0.0  # where an adaptive mu starts
  limits: Mapping[str, tuple[float, float]] = {}  # the paper's axis of a quantity, where known
  grid: str = ''  # fills the slot of a figure's grid


class Curve(NamedTuple):
  """A curve of all panels. '{best_mu}' in its label becomes the columns' value, or '> 0' if they differ."""

  label: str
  select: Mapping[str, Any]


class Figure(NamedTuple):
  """A figure: its first curve is the one that tables compare the others with."""

  title: str
  rows: tuple[Row, ...]
  columns: tuple[Column, ...]
  curves: tuple[Curve, ...]
  grid: str  # experiments/grids/<grid>.toml makes its runs; '{}' stands for the column's `grid`
  select: Mapping[str, Any] = {}  # of all cells
  grids: Mapping[str, str] = {}  # a column's `grid` -> the grid that makes its runs instead

  def grid_of(self, column: Column) -> str:
    """Returns the name of the grid that makes a column's runs."""
    return self.grids.get(column.grid, self.grid.format(column.grid))


def _synthetic(label: str, adverse_mu: float = 0.0, **select: Any) -> Column:
  return Column(label, {'dataset': 'synthetic', **select}, 200, adverse_mu=adverse_mu, grid='synthetic')


_IID = _synthetic('Synthetic-IID', adverse_mu=1.0, synthetic_iid=True)
_SYNTHETIC_SETS = (
  _IID,
  *(_synthetic(f'Synthetic({a:g}, {a:g})', synthetic_alpha=a, synthetic_beta=a) for a in (0.0, 0.5, 1.0)),
)
# The paper has FEMNIST, Shakespeare and Sent140 after these.
_DATA_SETS = (
  _SYNTHETIC_SETS[-1],
  Column('MNIST', {'dataset': 'mnist'}, 100, limits={LOSS: (0.2, 1.5)}, grid='mnist'),
)

_FEDAVG = Curve('FedAvg', {'algorithm': 'fedavg'})
_MU_0 = Curve(r'FedProx, $\mu$ = 0', {'algorithm': 'fedprox', 'mu': 0.0})
_MU_0_OF_ALL = _MU_0._replace(label=r'FedProx, $\mu$ = 0 (FedAvg)')  # where nobody straggles
_BEST_MU = Curve(r'FedProx, $\mu$ {best_mu}', {'algorithm': 'fedprox', 'mu': BEST})
_ADAPTIVE_MU = Curve(r'FedProx, adaptive $\mu$', {'algorithm': 'fedprox', 'mu': 'adaptive', 'initial_mu': ADVERSE})

# By the share of a cohort that straggles.
_SHARES = {0.0: 'No stragglers', 0.5: '50 % stragglers', 0.9: '90 % stragglers'}


def _by_stragglers(y: str) -> tuple[Row, ...]:
  return tuple(Row(y, label, {'stragglers': share}) for share, label in _SHARES.items())


def _columns_by_stragglers(column: Column) -> tuple[Column, ...]:
  return tuple(
    column._replace(label=label, select={**column.select, 'stragglers': share}) for share, label in _SHARES.items()
  )


def _by_quantity(*quantities: str) -> tuple[Row, ...]:
  return tuple(Row(y) for y in quantities)


def _scheme(words: str, curve: Curve, **select: Any) -> Curve:
  return Curve(f'{curve.label}, {words}', {**curve.select, **select})


_METHODS = (_FEDAVG, _MU_0, _BEST_MU)
_MUS = (_MU_0_OF_ALL, _BEST_MU)
_SCHEMES = (
  *(_scheme('uniform sampling and weighted average', curve) for curve in (_MU_0, _BEST_MU)),
  *(
    _scheme('weighted sampling and simple average', curve, sampling='proportional', weighting='uniform')
    for curve in (_MU_0, _BEST_MU)
  ),
)
_FIGURE_1 = Figure('Training loss under stragglers', _by_stragglers(LOSS), _DATA_SETS, _METHODS, 'figure1_{}')
_FIGURE_2 = Figure(
  'Statistical heterogeneity', _by_quantity(LOSS, VARIANCE), _SYNTHETIC_SETS, _MUS, 'figure2', {'stragglers': 0.0}
)
_FIGURE_9 = _FIGURE_1._replace(title='Training loss with E = 1', grid='figure9_{}', select={'epochs': 1})

FIGURES = {
  'figure1': _FIGURE_1,
  'figure2': _FIGURE_2,
  'figure3': Figure(
    'Adaptive mu',
    _by_quantity(LOSS),
    (_SYNTHETIC_SETS[0], _SYNTHETIC_SETS[-1]),
    (_MU_0_OF_ALL, _ADAPTIVE_MU, _BEST_MU),
    'figure3',
  ),
  'figure5': Figure(
    'Stragglers on IID data',
    _by_quantity(LOSS, ACCURACY),
    _columns_by_stragglers(_IID),
    (_FEDAVG, _MU_0),
    'figure5',
  ),
  'figure6': _FIGURE_2._replace(rows=_by_quantity(LOSS, ACCURACY, VARIANCE)),
  'figure7': _FIGURE_1._replace(title='Test accuracy under stragglers', rows=_by_stragglers(ACCURACY)),
  'figure8': Figure(
    'Dissimilarity', _by_quantity(VARIANCE), _DATA_SETS, _MUS, 'figure8_{}', grids={'synthetic': 'figure2'}
  ),
  'figure9': _FIGURE_9,
  'figure10': _FIGURE_9._replace(title='Test accuracy with E = 1', rows=_by_stragglers(ACCURACY)),
  'figure11': Figure(
    'Adaptive mu', _by_quantity(LOSS), _SYNTHETIC_SETS, (_MU_0_OF_ALL, _ADAPTIVE_MU, _BEST_MU), 'figure11'
  ),
  'figure12': Figure(
    'Two sampling schemes', _by_quantity(LOSS, ACCURACY, VARIANCE), _SYNTHETIC_SETS, _SCHEMES, 'figure12'
  ),
  'flower_mnist': Figure(  # not of the paper: the settings of Flower's baseline
    "Flower's settings",
    _by_quantity(LOSS, ACCURACY),
    _columns_by_stragglers(_DATA_SETS[-1]._replace(best_mu=2.0)),
    _METHODS,
    'flower_mnist',
    {'epochs': 10},
  ),
}
