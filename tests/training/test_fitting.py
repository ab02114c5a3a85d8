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
  ('model', 'note'), [('logistic', 'note: --model=logistic has no part that fedbn'), ('mlp_bn', '')]
)
def test_a_sweep_can_say_that_clients_would_keep_nothing(model, note):
  said = check_fits(Config.from_flags({'dataset': 'digits', 'algorithm': 'fedbn', 'model': model}), load('digits'))
  assert said.startswith(note) if note else said == ''
