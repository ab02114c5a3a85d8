# SPDX-License-Identifier: Apache-2.0
"""A small MNIST that needs no download: the 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels.

They are the test set of the "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI, 1998), prepared and
split as FedProx does MNIST, over 100 clients instead of 1,000. The paper has no such data set.
"""

import numpy as np

from fedprox_tff.datasets import base, images


def load(
  *, data_seed: int, partition: str = 'power_law', num_clients: int = 100, dirichlet_alpha: float = 0.5
) -> base.FederatedDataset:
  """Returns the digits, x of shape [n, 8, 8, 1].

  Args:
    data_seed: selects the split, a non-negative integer.
    partition: a key of `partitions.PARTITIONS`.
    num_clients: the number of clients; of the power law, a multiple of 10.
    dirichlet_alpha: the concentration of the partition `dirichlet`, above 0.

  Raises:
    DataError: if the digits cannot be split like that.
  """
  from sklearn import datasets  # imported here: it takes a second

  digits = datasets.load_digits()
  return images.federate(
    'digits',
    digits.images.astype(np.uint8),  # whole numbers, 0 to 16
    digits.target,
    source='scikit-learn, load_digits',
    data_seed=data_seed,
    partition=partition,
    num_clients=num_clients,
    dirichlet_alpha=dirichlet_alpha,
  )
