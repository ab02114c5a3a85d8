# SPDX-License-Identifier: Apache-2.0
"""The figure of rounds to a target: the order of its methods, what it says of each, and panels that differ."""

import pytest
from made_runs import cell_of, choice_of, frame_of

from analysis.draw import dots
from analysis.read.comparisons import Comparison
from analysis.read.figures import Figure


def run_to(round_num):
  """Returns a run of 20 rounds that keeps the target 0.5 from a round on; None: never."""
  if round_num is None:
    return frame_of([0.1] * 21)
  return frame_of([0.0] * round_num + [0.5] * (21 - round_num))


def comparison_of(panels, *, ranked_by='test/accuracy', flags=('learning_rate',)):
  """Returns a comparison with these rounds to the target: by panel and curve, of each seed."""
  cells = [
    cell_of(curve, map(run_to, rounds), column=panel)
    for panel, curves in panels.items()
    for curve, rounds in curves.items()
  ]
  choices = [choice_of(dict.fromkeys(flags, 0.1))] * len(cells)
  return Comparison('made', 0.5, ranked_by, 20, Figure('', [], list(panels), cells), cells, choices)


def means_of(axis):
  """Returns the mean of each line of a panel and its colour."""
  dots_of_means = [line for line in axis.lines if line.get_zorder() == 3]
  return {line.get_ydata()[0]: (line.get_xdata()[0], line.get_color()) for line in dots_of_means}


def test_methods_are_in_one_order_and_what_does_not_reach_the_target_is_marked():
  comparison = comparison_of({
    'A': {'FedAvg': [10, 12], 'Rare': [None, 5], 'Fast': [2, 4], 'Never': [None, None], 'Missing': []},
    'B': {'Never': [None, None], 'FedAvg': [8, 8], 'Rare': [4, None], 'Fast': [1, 1], 'Missing': []},
  })  # fmt: skip
  left, right = dots.draw(comparison).axes
  assert [label.get_text() for label in left.get_yticklabels()] == ['Fast', 'FedAvg', 'Rare', 'Never', 'Missing']
  for axis in (left, right):
    said = {text.get_position()[1]: text.get_text() for text in axis.texts}
    assert said == {2: '1 of 2', 3: 'not reached', 4: 'no data'}
  assert (left.get_title(), right.get_title()) == ('A', 'B')
  assert left.get_xlabel() == '# Rounds to 50 % test accuracy'
  assert means_of(left) == {0: (3, 'C0'), 1: (11, 'C1'), 2: (5, 'C0')}
  assert means_of(right) == {0: (1, 'C0'), 1: (8, 'C0'), 2: (4, 'C0')}  # its first method never gets there


def test_a_method_that_a_panel_does_not_have_keeps_its_line():
  comparison = comparison_of({'A': {'FedAvg': [10], 'FedProx': [8]}, 'B': {'FedAvg, uniform': [9], 'FedProx': [7]}})
  figure = dots.draw(comparison)
  left, right = figure.axes
  # In relation to their panels' means, 9 and 8: 10 / 9, (8 / 9 + 7 / 8) / 2 and 9 / 8. In rounds, 9 is less than 10.
  names = [label.get_text() for label in left.get_yticklabels()]
  assert names == ['FedProx', 'FedAvg', 'FedAvg, uniform']
  assert [(text.get_position()[1], text.get_text()) for text in left.texts] == [(2, 'not defined')]
  assert [(text.get_position()[1], text.get_text()) for text in right.texts] == [(1, 'not defined')]
  [legend] = figure.legends
  assert [text.get_text() for text in legend.get_texts()][-1] == 'FedAvg or FedAvg, uniform'


@pytest.mark.parametrize(('count', 'shape', 'labelled'), [(1, (1, 1), [0]), (3, (1, 3), [0, 1, 2]),
                                                          (4, (2, 2), [2, 3]), (5, (2, 3), [2, 3, 4])])  # fmt: skip
def test_panels_are_laid_out_in_rows(count, shape, labelled):
  figure = dots.draw(comparison_of({f'panel {i}': {'FedAvg': [3]} for i in range(count)}))
  grid = figure.axes[0].get_subplotspec().get_gridspec()
  assert (grid.nrows, grid.ncols) == shape
  assert [i for i, axis in enumerate(figure.axes) if axis.get_xlabel()] == labelled
  assert [axis.axison for axis in figure.axes].count(True) == count


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    (['learning_rate'], 'learning rate searched'),
    (['learning_rate', 'beta'], 'beta and learning rate searched'),
    (['learning_rate', 'beta', 'mu'], '1 seed, settings searched'),
  ],
)
def test_the_caption_says_what_was_searched(flags, said):
  caption = dots.draw(comparison_of({'A': {'FedAvg': [3]}}, flags=flags)).get_suptitle()
  assert f'{said} for each method and panel' in caption.replace('\n', ' ')
  assert r'\eta' not in caption


def test_clients_own_models_count_where_the_comparison_ranks_them():
  comparison = comparison_of({'A': {'Ditto': []}}, ranked_by='personal/accuracy')
  comparison.cells[0].runs[0] = frame_of([0.1] * 21, **{'personal/accuracy': [0.0] * 3 + [0.5] * 18})
  [axis] = dots.draw(comparison).axes
  assert axis.get_xlabel() == '# Rounds to 50 % test accuracy of own models'
  assert means_of(axis) == {0: (3, 'C1')}
