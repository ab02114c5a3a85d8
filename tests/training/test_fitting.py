# SPDX-License-Identifier: Apache-2.0
"""What does not fit the data is refused before any run, in a sweep as in a run."""

import dataclasses

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.training.fitting import check_fits, fitted_model
from tests.federations import load


@pytest.mark.parametrize(
  ('flags', 'changes', 'said'),
  [
    ({'algorithm': 'fedem', 'model': 'mlp_bn'}, {}, '--model=mlp_bn: A mixture cannot be made of mlp_bn'),
    ({'dataset': 'synthetic', 'model': 'cnn'}, {}, '--model=cnn: The model cnn needs images'),
    # What a folder of LEAF holds is known only when it has been read.
    ({}, {'clients_per_round': 101}, '--clients_per_round=101: at most the 100 clients'),
    ({'epochs': 2**31}, {}, '--epochs=2147483648: at most 2,147,483,647 local steps are possible'),
    ({'epochs': 2**31 - 1, 'batch_size': 'all'}, {}, '--epochs=2147483647: the order of the batches of a round may'),
    ({'epochs': 10**8}, {}, '--epochs=100000000: the order of the batches of a round may take '),
    (
      {'algorithm': 'fedrep', 'local_steps': 10},
      {},
      '--local_steps=10: the first 10 epochs of fedrep train what stays on clients, 10 local steps or more; at least '
      '11 are needed.',
    ),
    (
      {'algorithm': 'moon'},
      {},
      '--model=logistic: moon compares what the last layer gets to see: behind others, a dense layer with a bias is '
      'needed, and one answer to each example.',
    ),
    ({'algorithm': 'scaffnew'}, {'clients_per_round': 99}, '--clients_per_round=99: scaffnew needs all clients'),
  ],
)
def test_what_does_not_fit_is_one_line_that_names_the_run(flags, changes, said):
  flags = {'dataset': 'digits', 'name': 'a cell', **flags}
  config = dataclasses.replace(Config.from_flags(flags), **changes)
  dataset = load(flags['dataset'])
  with pytest.raises(UserError, match=f'^a cell: {said}'):
    check_fits(config, dataset)
  with pytest.raises(UserError, match=f'^{said}'):
    fitted_model(config, dataset)


def test_the_model_is_that_of_the_flags():
  config = Config.from_flags({'dataset': 'digits', 'model': 'mlp_bn', 'hidden_units': 7})
  assert fitted_model(config, load('digits')).initial_weights[0].shape == (64, 7)
  check_fits(config, load('digits'))


@pytest.mark.parametrize(
  ('algorithm', 'model', 'note'),
  [
    ('fedbn', 'logistic', 'note: --model=logistic has no part that fedbn would keep on clients, so all is shared'),
    ('fedbn', 'mlp_bn', ''),
    ('fedper', 'mlp_bn', ''),
    *[
      (
        name,
        'logistic',
        f'note: {name} keeps all parts of --model=logistic on clients, so nothing is shared: each client trains alone',
      )
      for name in ('fedper', 'fedrep')
    ],
    ('ditto', 'logistic', ''),
  ],
)
def test_a_run_and_a_sweep_can_say_that_clients_would_keep_nothing_or_all(algorithm, model, note):
  config = Config.from_flags({'dataset': 'digits', 'algorithm': algorithm, 'model': model})
  assert check_fits(config, load('digits')) == note


def test_local_steps_that_the_smallest_client_has_left_for_what_is_shared_are_enough():
  dataset = load('digits')
  smallest = -(-int(dataset.train.sizes.min()) // 2)  # batches of two
  flags = {'dataset': 'digits', 'algorithm': 'fedrep', 'model': 'mlp_bn', 'batch_size': 2, 'head_epochs': 3}
  check_fits(Config.from_flags(flags | {'local_steps': 3 * smallest + 1}), dataset)
  with pytest.raises(UserError, match=f'--local_steps={3 * smallest}: the first 3 epochs of fedrep'):
    check_fits(Config.from_flags(flags | {'local_steps': 3 * smallest}), dataset)
