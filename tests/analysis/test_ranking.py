# SPDX-License-Identifier: Apache-2.0
"""Rankings of made runs: which method is compared with which, what each took, and how a table says it."""

import numpy as np
import pytest
from made_runs import cell_of, choice_of, frame_of

from analysis.numbers import formats, ranking, ranking_words
from analysis.read.comparisons import Comparison
from analysis.read.figures import Figure

EXAMPLES, UNIFORM = 'Weighted by examples', 'Uniform weighting'
VALUES, ENDS = {'learning_rate': 10.0, 'beta': 0.1}, {'learning_rate': 'limit', 'beta': 'budget'}
SMALL = choice_of({'learning_rate': 0.03})
AT_ENDS = choice_of(VALUES, ends=ENDS, runs=14, local_steps=2_500_000, note='larger ones diverge')


def run_of(accuracy, spent=None):
  """Returns a run of six accuracies, or of one that stays, and what each round but round 0 took."""
  more = {} if spent is None else {'cohort/gradients': [0.0, *[spent] * 5], 'cohort/floats': [0.0, *[10.0 * spent] * 5]}
  return frame_of(accuracy if isinstance(accuracy, list) else [accuracy] * 6, **more)


@pytest.fixture
def comparison():
  """Two panels: SCAFFOLD is in the second one only, FedProx in the first one only."""
  late = [0.0, 0.2, 0.6, 0.6, 0.6, 0.6]  # means of five: 0.4 and 0.52
  cells = [
    cell_of('FedAvg', [run_of(0.5, 100.0), run_of(0.7, 100.0)], column=EXAMPLES),
    cell_of('FedProx', [run_of(0.6), run_of(0.9)], column=EXAMPLES, partner='FedAvg, E = 1', algorithm='fedprox'),
    cell_of('FedAvg, E = 1', [run_of(late, 1000.0), run_of(late, 3000.0)], column=EXAMPLES),
    cell_of('FedAvg', [run_of(0.4), run_of(0.4)], column=UNIFORM),
    cell_of('SCAFFOLD', [run_of(0.8), run_of(0.9)], column=UNIFORM, algorithm='scaffold'),
  ]
  choices = [SMALL, AT_ENDS, None, SMALL, SMALL]
  return Comparison('made', 0.5, 'test/accuracy', 5, Figure('', [], [EXAMPLES, UNIFORM], cells), cells, choices)


def test_each_panel_has_its_own_methods_and_each_method_its_partner(comparison):
  made = ranking.ranking(comparison)
  assert made[['panel', 'rank', 'curve', 'partner']].to_numpy().tolist() == [
    [EXAMPLES, 1, 'FedProx', 'FedAvg, E = 1'],
    [EXAMPLES, 2, 'FedAvg', 'FedAvg'],
    [EXAMPLES, 3, 'FedAvg, E = 1', 'FedAvg'],
    [UNIFORM, 1, 'SCAFFOLD', 'FedAvg'],
    [UNIFORM, 2, 'FedAvg', 'FedAvg'],
  ]
  late = 2.6 / 6
  expected = [0.75 - late, np.nan, late - 0.6, 0.45, np.nan]
  assert made['last_ten_diff_mean'].tolist() == pytest.approx(expected, nan_ok=True)
  half = 12.7062 * 0.05  # t(0.975) with one degree of freedom, and the standard error of 0.4 and 0.5
  assert made.loc[3, ['last_ten_diff_low', 'last_ten_diff_high']].tolist() == pytest.approx(
    [0.45 - half, 0.45 + half], abs=1e-5
  )


def test_what_the_seeds_that_reach_the_target_took(comparison):
  made = ranking.ranking(comparison).set_index(['panel', 'curve'])
  late = made.loc[EXAMPLES, 'FedAvg, E = 1']  # round 1, with 1,000 and 3,000 gradients
  assert late[['reached', 'rounds_mean', 'rounds_std']].tolist() == [2, 1, 0]
  assert late[['gradients_mean', 'gradients_std', 'floats_mean']].tolist() == pytest.approx(
    [2000, 2000 / 2**0.5, 20_000]
  )
  assert made.loc[EXAMPLES, 'FedAvg'][['rounds_mean', 'gradients_mean']].tolist() == [0, 0]
  assert made.loc[UNIFORM, 'FedAvg'][['reached']].tolist() == [0]
  assert np.isnan(made.loc[UNIFORM, 'FedAvg'][['rounds_mean', 'gradients_mean']].astype(float)).all()
  fedprox = made.loc[EXAMPLES, 'FedProx']  # an older version wrote its runs
  assert fedprox['reached'] == 2
  assert np.isnan(fedprox[['gradients_mean', 'floats_mean']].astype(float)).all()


def test_only_seeds_that_reach_the_target_are_paid_for(comparison):
  seeds = [run_of([0.0, 0.2, 0.6, 0.6, 0.6, 0.6], 1000.0), run_of(0.1, 9e9)]
  comparison.cells[2] = cell_of('FedAvg, E = 1', seeds, column=EXAMPLES)
  made = ranking.ranking(comparison).set_index(['panel', 'curve']).loc[EXAMPLES, 'FedAvg, E = 1']
  assert made[['reached', 'rounds_mean', 'gradients_mean', 'floats_mean']].tolist() == [1, 1, 1000, 10_000]


def test_what_the_search_chose_and_took(comparison):
  made = ranking.ranking(comparison).set_index(['panel', 'curve']).loc[EXAMPLES]
  columns = ['chosen', 'ends', 'note', 'search_runs', 'search_steps']
  assert made.loc['FedProx', columns].tolist() == [
    'learning_rate=10.0, beta=0.1', 'learning_rate=limit, beta=budget', 'larger ones diverge', 14, 2_500_000
  ]  # fmt: skip
  assert made.loc['FedAvg', ['chosen', 'search_runs', 'search_steps']].tolist() == ['learning_rate=0.03', 7, 310_400]
  assert made.loc['FedAvg, E = 1', columns].isna().all()


def test_words_of_a_search():
  assert ranking_words.chosen_in_words(SMALL) == 'learning rate 0.03'
  said = 'learning rate 10 (end: limit), beta 0.1 (end: budget); larger ones diverge'
  assert ranking_words.chosen_in_words(AT_ENDS) == said
  inside = choice_of(VALUES, note='said of values at an end alone')
  assert ranking_words.chosen_in_words(inside) == 'learning rate 10, beta 0.1'
  assert ranking_words.chosen_in_words(choice_of(VALUES, ends=ENDS)) == said.removesuffix('; larger ones diverge')
  assert ranking_words.budget_in_words(AT_ENDS) == '14 runs, 2.5 M steps'
  assert ranking_words.budget_in_words(choice_of(VALUES, runs=1, local_steps=950)) == '1 run, 950 steps'


def test_tables_in_words(comparison):
  first, second = ranking_words.tables(comparison, ranking.ranking(comparison))
  assert first.title == f'made, {EXAMPLES}: methods ranked by test accuracy'
  assert list(first.header) == [
    *('rank', 'method', 'chosen', 'search', 'seeds', 'accuracy', 'difference to FedAvg'),
    *('rounds to 50 %', 'gradients to 50 %', 'numbers sent to 50 %', 'training loss'),
  ]
  rows = {row[1]: list(row) for row in first.rows}
  assert rows['FedAvg'] == [
    *('2', 'FedAvg', 'learning rate 0.03', '7 runs, 310 k steps', '2', '60.0 ± 14.1', '-'),
    *('0.0 ± 0.0 (2/2)', '0', '0', '0.6 ± 0.14'),
  ]
  assert rows['FedAvg, E = 1'][2:4] == ['-', '-']
  assert rows['FedAvg, E = 1'][6:10] == ['-16.7 [-143.7, +110.4]', '1.0 ± 0.0 (2/2)', '2 k', '20 k']
  assert rows['FedProx'][6].endswith(' to FedAvg, E = 1')
  assert rows['FedProx'][8:10] == ['-', '-']
  assert [len(table.legend) > 0 for table in (first, second)] == [True, False]
  assert {row[1]: row[7] for row in second.rows}['FedAvg'] == '- (0/2)'


def test_a_heading_names_the_first_curve_of_its_panel(comparison):
  comparison.cells[3] = cell_of('FedAvg, uniform', [run_of(0.4)], column=UNIFORM)
  first, second = ranking_words.tables(comparison, ranking.ranking(comparison))
  assert (first.header[6], second.header[6]) == ('difference to FedAvg', 'difference to FedAvg, uniform')
  assert '-' in second.rows[1][6]
  assert ' to ' not in second.rows[0][6]


def own(test, personal):
  return frame_of([test] * 6, **{'personal/accuracy': [personal] * 6})


def test_clients_own_models_stand_beside_where_the_global_model_ranks(comparison):
  comparison.cells[0] = cell_of('FedAvg', [own(0.5, np.nan)], column=EXAMPLES)
  comparison.cells[1] = cell_of('Ditto', [own(0.6, 0.95)], column=EXAMPLES, algorithm='ditto')
  first, _ = ranking_words.tables(comparison, ranking.ranking(comparison))
  assert first.header[-1] == 'own models'
  assert {row[1]: (row[5], row[-1]) for row in first.rows[:2]} == {'Ditto': ('60.0', '95.0'), 'FedAvg': ('50.0', '-')}


def test_clients_own_models_rank_and_the_global_model_stands_beside(comparison):
  comparison.cells[0] = cell_of('FedAvg', [own(0.7, np.nan)] * 2, column=EXAMPLES)
  comparison.cells[1] = cell_of('Ditto', [own(0.3, 0.9), own(0.3, 0.8)], column=EXAMPLES, algorithm='ditto')
  comparison = comparison._replace(ranked_by='personal/accuracy', target=0.85)
  made = ranking.ranking(comparison)
  ditto, fedavg = made.iloc[0], made.iloc[1]
  assert (ditto['curve'], fedavg['curve']) == ('Ditto', 'FedAvg')
  assert [ditto['last_ten_mean'], ditto['last_ten_diff_mean'], ditto['global_mean']] == pytest.approx([0.85, 0.15, 0.3])
  assert [fedavg['last_ten_mean'], fedavg['global_mean']] == pytest.approx([0.7, 0.7])
  assert (ditto['reached'], fedavg['reached']) == (1, 0)
  first, _ = ranking_words.tables(comparison, made)
  assert first.title.endswith("methods ranked by the test accuracy of clients' own models")
  assert first.header[-1] == 'global model'
  assert first.rows[0][-1] == '30.0 ± 0.0'
  assert any("clients' own models on their own examples" in line for line in first.legend)


def test_runs_that_did_not_measure_what_ranks_do_not_count(comparison):
  comparison.cells[0] = cell_of('FedAvg', [own(0.7, np.nan)] * 2, column=EXAMPLES)
  made = ranking.ranking(comparison._replace(ranked_by='personal/accuracy'))
  assert made[['curve', 'seeds']].head(3).to_numpy().tolist() == [['FedAvg', 2], ['FedProx', 0], ['FedAvg, E = 1', 0]]
  assert made['last_ten_diff_mean'].isna().all()


@pytest.mark.parametrize(
  ('count', 'words'),
  [
    (0, '0'), (7, '7'), (950, '950'), (999.6, '1 k'), (12_345, '12.3 k'), (4_500_000, '4.5 M'), (999_600, '1 M'),
    (2.5e9, '2.5 G'), (1e13, '1e+04 G'), (np.nan, '-'),
  ],
)  # fmt: skip
def test_amounts(count, words):
  assert formats.amount(count) == words


def test_words_and_units_in_latex_and_markdown():
  row = ['3 local epochs, 50 % & a_b', '12.3 k', '+1 [-0.2, +3] to FedAvg, 1', '2 ± 0.5 (2/2)', '1e+18 ± 2', '-']
  table = formats.Table('t', ['a|b', *'cdefg'], [row], labels=1, legend=['c: one.', 'd: two.'])
  assert formats.latex(table).splitlines()[:3] == ['% t', '% c: one.', '% d: two.']
  assert formats.latex(table).splitlines()[7] == (
    r'3 local epochs, 50 \% \& a\_b & $12.3$ k & $+1 [-0.2, +3]$ to FedAvg, 1 & $2 \pm 0.5 (2/2)$ & $1e+18 \pm 2$ & '
    r'-- \\'
  )
  assert formats.markdown(table).splitlines()[:5] == ['**t**', '', '- c: one.', '- d: two.', '']
  assert formats.markdown(table).splitlines()[5] == r'| a\|b | c | d | e | f | g |'
  assert formats.text(table).splitlines()[:4] == ['t', 'c: one.', 'd: two.', '']
