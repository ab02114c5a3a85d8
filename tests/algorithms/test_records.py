# SPDX-License-Identifier: Apache-2.0
"""What methods say of themselves, and what the record makes of their hooks."""

import pytest

from fedprox_tff import algorithms
from fedprox_tff.algorithms import ALGORITHMS, ALIASES, backbones
from fedprox_tff.algorithms.base import Algorithm, ClientRule, Local, Step, shared_names, step_of
from fedprox_tff.algorithms.fedprox import adaptive
from fedprox_tff.core import tree
from tests import problems


def test_all_that_is_imported_is_a_choice():
  assert {'fedavg', 'fedprox', 'scaffold', 'fedem'} < ALGORITHMS.keys()
  assert ALGORITHMS['fedprox'] is algorithms.fedprox
  assert all(factory.__name__ == name and factory().name == name for name, factory in ALGORITHMS.items())


def test_another_name_is_that_of_a_method_and_of_nothing_else():
  assert set(ALIASES.values()) <= ALGORITHMS.keys()
  assert not ALIASES.keys() & ALGORITHMS.keys()


def test_no_two_methods_have_one_title():
  titles = [factory().title for factory in ALGORITHMS.values()]
  assert len(set(titles)) == len(titles)
  assert {'FedAvgM', 'FedAvg-M', 'SCAFFOLD', 'DualPROX', 'Delta-SGD', 'pFedMe'} <= set(titles)


@pytest.mark.parametrize(
  ('mu', 'words', 'line'),
  [
    (1.0, {'mu': r'$\mu$ = 1'}, '-'),
    (0.1, {'mu': r'$\mu$ = 0.1'}, '-'),
    (0.0, {'mu': r'$\mu$ = 0'}, '--'),
    (1e-05, {'mu': r'$\mu$ = 1e-05'}, '-'),
    (adaptive(initial_mu=0.5), {'mu': r'adaptive $\mu$', 'initial_mu': r'initial $\mu$ = 0.5'}, '-.'),
  ],
)
def test_fedprox_says_its_mu(mu, words, line):
  algorithm = algorithms.fedprox(mu=mu)
  assert (algorithm.title, algorithm.words, algorithm.line) == ('FedProx', words, line)


def test_methods_with_a_mu_say_it_and_report_it_and_others_do_neither():
  with_mu = set()
  for name, factory in ALGORITHMS.items():
    algorithm = factory()
    has_mu = 'mu' in algorithm.client.hparams
    assert algorithm.words.get('mu', '').startswith(r'$\mu$ = ') == has_mu
    assert ('mu' in [column.name for column in algorithm.columns]) == has_mu
    with_mu |= {name} if has_mu else set()
  assert with_mu >= {'dualprox', 'feddane', 'fedexp', 'fednar', 'fedprox'}
  assert algorithms.fedavg().line == ':'


@pytest.mark.parametrize('method', [algorithms.fedexp, algorithms.fednar])
def test_a_backbone_brings_its_words_and_columns(method):
  proximal = method(backbone=backbones.proximal(mu=0.3))
  assert (proximal.words, [column.name for column in proximal.columns]) == ({'mu': r'$\mu$ = 0.3'}, ['mu'])
  assert proximal.client.hparams['mu'] == 0.3
  scaffold = method(backbone=algorithms.scaffold(scaffold_option=1))
  assert (scaffold.words, scaffold.columns, scaffold.needs.num_clients) == ({}, (), True)
  assert 'mu' not in scaffold.client.hparams


def test_shared_names_are_those_of_the_clients_hyperparameters():
  fednar = algorithms.fednar()
  assert shared_names(fednar, ['learning_rate', 'weight_decay', 'beta_1']) == ['weight_decay']
  assert shared_names(fednar, ['learning_rate']) == []
  assert shared_names(algorithms.fedadam(), ['learning_rate', 'beta_1']) == []  # the server's are another's


def test_a_step_is_the_methods_own_or_else_along_its_gradient():
  def gradient(local, batch, hparams):
    return tree.scale(hparams['a'], batch.gradient(local.weights))

  local, batch = Local((3.0,), (0.0,)), problems.Asked(gradient=lambda at: tree.scale(2.0, at))
  along = Algorithm('made_up', 'MadeUp', client=ClientRule(gradient=gradient))
  assert step_of(along, local, batch, {'a': 5.0}) == Step((30.0,), ())
  own = along._replace(client=ClientRule(gradient=gradient, step=lambda *_: Step((7.0,), scratch=(1.0,))))
  assert step_of(own, local, batch, {'a': 5.0}) == Step((7.0,), (1.0,))
