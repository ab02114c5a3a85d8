# SPDX-License-Identifier: Apache-2.0
"""A small MNIST that needs no download: the 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels.

They are the test set of the "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI, 1998), prepared and
split as FedProx does MNIST, over 100 clients instead of 1,000. The paper has no such data set.
"""

from typing import Annotated

import numpy as np

from fedprox_tff.datasets import base, images
from fedprox_tff.datasets.partitions import Partition
from fedprox_tff.machine import frameworks


def digits(*, data_seed: int = 0, num_clients: Annotated[int, (1, None)] = 100) -> base.DataSet:
  """Returns the digits, x of shape [n, 8, 8, 1]. The learning rate is MNIST's.

  Args:
    data_seed: Seed of the split over clients.
    num_clients: Number of clients in the federation.
  """

  def load(partition: Partition) -> base.FederatedDataset:
    frameworks.wait()  # scikit-learn and Keras both import SciPy
    from sklearn import datasets  # imported here: it takes a second

    files = datasets.load_digits()
    return images.federate(
      'digits',
      files.images.astype(np.uint8),  # whole numbers, 0 to 16
      files.target,
      source='scikit-learn, load_digits',
      data_seed=data_seed,
      partition=partition,
      num_clients=num_clients,
    )

  return base.DataSet('digits', 'Digits', 0.03, load, partition='power_law', num_clients=num_clients)
