# SPDX-License-Identifier: Apache-2.0
"""Mean and band over seeds."""

import numpy as np
import pandas as pd

BANDS = {
  'std': 'standard deviation',
  'minmax': 'range from minimum to maximum',
  'ci95': '95 % confidence interval (Student t)',
}


def summarise(values: pd.DataFrame, band: str = 'std') -> pd.DataFrame:
  """Returns the columns 'mean', 'low' and 'high' of values that have a column for each seed.

  The band of a single seed is NaN, and so is everything where a seed's value is. Deviations are those of a sample
  (n - 1). The interval is that of the mean, with n - 1 degrees of freedom.
  """
  with np.errstate(all='ignore'):  # diverged values overflow
    mean = values.mean(axis=1, skipna=False)
    if values.shape[1] < 2:
      low = high = mean * np.nan
    elif band == 'minmax':
      low, high = values.min(axis=1, skipna=False), values.max(axis=1, skipna=False)
    else:
      half = values.std(axis=1, skipna=False) * (1 if band == 'std' else t_factor(values.shape[1]))
      low, high = mean - half, mean + half
  return pd.DataFrame({'mean': mean, 'low': low, 'high': high})


def t_factor(n: int) -> float:
  """Returns what a standard deviation over n values is multiplied by for half a 95 % interval of their mean."""
  from scipy.special import stdtrit  # late: most figures do without

  return stdtrit(n - 1, 0.975) / np.sqrt(n)


def seeds_in_words(counts: set[int]) -> str:
  """Returns '5 seeds', '1 seed' or, where curves differ, '3 to 5 seeds'."""
  low, high = min(counts), max(counts)
  return f'{low} to {high} seeds' if low < high else f'{low} seed{"s" if low > 1 else ""}'
