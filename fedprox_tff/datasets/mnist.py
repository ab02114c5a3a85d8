# SPDX-License-Identifier: Apache-2.0
"""MNIST over 1,000 devices, as in FedProx (Li et al., MLSys 2020, Section 5.1 and Appendix C.1).

All 70,000 images, the 60,000 training images before the 10,000 test images, are pooled, standardised and dealt to the
clients; each client then keeps the first 90 % of its own for training.

Departures from the authors' script: it sets no seed, so its very split cannot be had, and takes a digit's images in
the order of a copy of MNIST that is no longer served. Ours follow `data_seed` and the order of the IDX files.
"""

from fedprox_tff.datasets import base, images, mnist_files
from fedprox_tff.datasets.statistics import PAPER

locate = mnist_files.locate


def load(
  *,
  data_dir: str | None,
  data_seed: int,
  partition: str = 'power_law',
  num_clients: int = 1000,
  dirichlet_alpha: float = 0.5,
) -> base.FederatedDataset:
  """Returns MNIST, x of shape [n, 28, 28, 1], from `data_dir` or the other places of `mnist_files.find`.

  Args:
    data_dir: a folder with the files of MNIST, or None.
    data_seed: selects the split, a non-negative integer.
    partition: a key of `partitions.PARTITIONS`.
    num_clients: the number of clients; of the power law, a multiple of 10.
    dirichlet_alpha: the concentration of the partition `dirichlet`, above 0.

  Raises:
    DataError: if the files cannot be had, are not the published ones, or cannot be split like that.
  """
  pixels, labels, source = mnist_files.read(data_dir)
  as_in_paper = partition == 'power_law' and num_clients == PAPER['mnist'].devices
  return images.federate(
    'mnist',
    pixels,
    labels,
    source=source,
    data_seed=data_seed,
    partition=partition,
    num_clients=num_clients,
    dirichlet_alpha=dirichlet_alpha,
    paper=PAPER['mnist'] if as_in_paper else None,
  )
