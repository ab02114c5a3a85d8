# SPDX-License-Identifier: Apache-2.0
import pytest

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.datasets.federation_names import read_federation


@pytest.mark.parametrize(
  ('text', 'federation'),
  [('A0d01C100', (0.01, 100)), ('A1C10', (1.0, 10)), ('A0d5C1', (0.5, 1)), ('A100d25C1000', (100.25, 1000))],
)
def test_a_name_says_alpha_and_the_number_of_clients(text, federation):
  assert read_federation(text) == federation


@pytest.mark.parametrize(
  'text',
  [
    '',
    'A0d01',
    'C100',
    'a0d01c100',
    'A0.01C100',
    'A0d01C100 ',
    'A-1C10',
    'Ad1C10',
    'A0dC10',
    'A1C\u0661',
    'A0d0C10',
    'A1C0',
    'A1C10000000000',
  ],
)
def test_anything_else_is_refused_in_one_line(text):
  with pytest.raises(UserError, match=r'--federation=.*: a name such as A0d01C100 is needed') as error:
    read_federation(text)
  assert '\n' not in str(error.value)
  assert not isinstance(error.value, DataError)
