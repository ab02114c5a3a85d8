# SPDX-License-Identifier: Apache-2.0
"""Bands against values worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis.numbers import bands

VALUES = pd.DataFrame([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])  # mean 3, variance ((2)^2 + 1 + 3^2) / 2 = 7


@pytest.mark.parametrize(
  ('band', 'low', 'high'),
  [
    ('std', 3 - 7**0.5, 3 + 7**0.5),
    ('minmax', 1.0, 6.0),
    # 4.30265 is the 97.5 % point of Student's t with 2 degrees of freedom, from a printed table.
    ('ci95', 3 - 4.30265 * (7 / 3) ** 0.5, 3 + 4.30265 * (7 / 3) ** 0.5),
  ],
)
def test_bands(band, low, high):
  summary = bands.summarise(VALUES, band)
  assert summary['mean'].tolist() == [3.0, 4.0]
  assert summary['low'].tolist() == pytest.approx([low, 4.0], abs=1e-4)
  assert summary['high'].tolist() == pytest.approx([high, 4.0], abs=1e-4)


@pytest.mark.parametrize('band', bands.BANDS)
def test_one_seed_has_no_band(band):
  summary = bands.summarise(VALUES[[0]], band)
  assert summary['mean'].tolist() == [1.0, 4.0]
  assert summary[['low', 'high']].isna().all(axis=None)


@pytest.mark.parametrize('band', bands.BANDS)
def test_a_value_that_is_not_there_is_not_left_out_of_a_mean(band):
  summary = bands.summarise(VALUES.replace(6.0, np.nan), band)
  assert summary.iloc[0].isna().all()
  assert summary['mean'].iloc[1] == 4.0


def test_words():
  assert [bands.seeds_in_words(counts) for counts in ({1}, {5}, {3, 5})] == ['1 seed', '5 seeds', '3 to 5 seeds']
