# SPDX-License-Identifier: Apache-2.0
"""MNIST over 1,000 devices, as in FedProx (Li et al., MLSys 2020, Section 5.1 and Appendix C.1).

All 70,000 images, the 60,000 training images before the 10,000 test images, are pooled, standardised and dealt to the
clients; each client then keeps the first 90 % of its own for training.

Departures from the authors' script: it sets no seed, so its very split cannot be had, and takes a digit's images in
the order of a copy of MNIST that is no longer served. Ours follow `data_seed` and the order of the IDX files.
"""

from typing import Annotated

from fedprox_tff.datasets import base, images, mnist_files
from fedprox_tff.datasets.partitions import Partition
from fedprox_tff.datasets.statistics import PAPER


def mnist(
  *, data_dir: str | None = None, data_seed: int = 0, num_clients: Annotated[int, (1, None)] = 1000
) -> base.DataSet:
  """Returns MNIST, x of shape [n, 28, 28, 1], from `data_dir` or the other places of `mnist_files.find`.

  Args:
    data_dir: Folder with the data's files; without it $FEDPROX_DATA_DIR, then the cache, then a download.
    data_seed: Seed of the split over clients.
    num_clients: Number of clients in the federation.
  """

  def load(partition: Partition) -> base.FederatedDataset:
    pixels, labels, source = mnist_files.read(data_dir)
    as_in_paper = partition.name == 'power_law' and num_clients == PAPER['mnist'].devices
    return images.federate(
      'mnist',
      pixels,
      labels,
      source=source,
      data_seed=data_seed,
      partition=partition,
      num_clients=num_clients,
      paper=PAPER['mnist'] if as_in_paper else None,
    )

  return base.DataSet('mnist', 'MNIST', 0.03, load, partition='power_law', num_clients=num_clients)
