# SPDX-License-Identifier: Apache-2.0
"""What does not fit the data is refused before any run, in one line that names the run."""

import dataclasses

import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.training.fitting import check_fits
from tests.federations import load


@pytest.mark.parametrize(
  ('flags', 'changed', 'said'),
  [
    ({'algorithm': 'fedem', 'model': 'mlp_bn'}, {}, '--model=mlp_bn: A mixture cannot be made of mlp_bn'),
    ({'dataset': 'synthetic', 'model': 'cnn'}, {}, '--model=cnn: The model cnn needs images'),
    # The number of clients that a data set says and the one that it has may differ, as in a folder of LEAF.
    ({}, {'clients_per_round': 101}, '--clients_per_round=101: at most the 100 clients'),
  ],
)
def test_what_does_not_fit_the_data_is_refused_with_the_name_of_the_run(flags, changed, said):
  config = Config.from_flags({'dataset': 'digits', 'name': 'a cell', **flags})
  with pytest.raises(UserError, match=f'^a cell: {said}'):
    check_fits(dataclasses.replace(config, **changed), load(config.dataset.name))
