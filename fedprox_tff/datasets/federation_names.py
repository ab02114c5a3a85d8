# SPDX-License-Identifier: Apache-2.0
"""The names that FederatedX gives its federations: A0d01C100 is Dirichlet(0.01) over 100 clients.

FederatedX is the code of Lei et al. (arXiv:2511.00469, 2025). The number behind A is the concentration alpha, with d
for the decimal point, and the one behind C the number of clients.
"""

import re
from typing import NamedTuple

from fedprox_tff.core.errors import UserError

_NAME = re.compile(r'A([0-9]{1,9})(?:d([0-9]{1,9}))?C([0-9]{1,9})')


class Federation(NamedTuple):
  """How a data set is split."""

  alpha: float  # the concentration of the Dirichlet distribution, above 0
  num_clients: int


def read_federation(text: str) -> Federation:
  """Returns what the name of a federation says.

  Args:
    text: Such as 'A0d01C100'.

  Raises:
    UserError: If it is no such name, or says that alpha or the number of clients is 0.
  """
  match = _NAME.fullmatch(text)
  federation = Federation(float(f'{match[1]}.{match[2] or 0}'), int(match[3])) if match else Federation(0, 0)
  if not (federation.alpha and federation.num_clients):
    raise UserError(
      f'--federation={text}: a name such as A0d01C100 is needed, which is Dirichlet with alpha = 0.01 over 100 clients.'
    )
  return federation
