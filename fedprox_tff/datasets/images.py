# SPDX-License-Identifier: Apache-2.0
"""A pool of labelled images made into a federation: standardised, split over clients, cut 90/10.

The preparation is that of the FedProx authors' MNIST script (Li et al., MLSys 2020, Section 5.1 and Appendix C.1):
every pixel becomes (x - mean) / (standard deviation + 0.001), its mean and deviation taken over the whole pool,
training and test images alike, on the raw scale of the file (MNIST: 0 to 255). A pixel that never changes becomes 0.
"""

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.datasets import base
from fedprox_tff.datasets.partitions import Partition


def federate(
  name: str,
  pixels: np.ndarray,
  labels: np.ndarray,
  *,
  source: str,
  data_seed: int,
  partition: Partition,
  num_clients: int,
  paper: base.Statistics | None = None,
) -> base.FederatedDataset:
  """Makes a federation of a pool of images.

  Args:
    name: the data set's name.
    pixels: uint8 [n, height, width].
    labels: integers [n] from 0.
    source: one line on where the images came from.
    data_seed: selects the split, a non-negative integer.
    partition: how the images are split over clients.
    num_clients: the number of clients.
    paper: the paper's statistics, if it has this federation.

  Returns:
    A data set with x of shape [n, height, width, 1].

  Raises:
    DataError: if the pool cannot be split like that.
  """
  rng = streams.generator('data', data_seed)
  clients = partition.split(labels, num_clients, rng)
  mean, scale = moments(pixels)

  def take(rows_of_client: list[np.ndarray]) -> base.ClientSplit:
    split = base.empty_split(np.array([len(rows) for rows in rows_of_client]), (*pixels.shape[1:], 1))
    rows = np.concatenate(rows_of_client)
    # In place: of MNIST there is one copy in bytes and one in float32, and never a third.
    x = split.examples.x[..., 0]
    np.subtract(pixels[rows], mean, out=x)
    np.divide(x, scale, out=x)
    split.examples.y[:] = labels[rows]
    return split

  return base.FederatedDataset(
    name=name,
    client_ids=base.client_ids(num_clients),
    train=take([rows[: base.train_size(len(rows))] for rows in clients]),
    test=take([rows[base.train_size(len(rows)) :] for rows in clients]),
    num_classes=int(labels.max()) + 1,
    source=source,
    paper=paper,
  )


def moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns each pixel's mean and its standard deviation + 0.001, float32 [height, width], of uint8 images.

  The sums are of whole numbers and exact; only their quotients are rounded.
  """
  count = len(pixels)
  total = pixels.sum(axis=0, dtype=np.int64)
  squares = np.square(pixels, dtype=np.uint16).sum(axis=0, dtype=np.int64)
  deviation = np.sqrt(count * squares - total**2) / count
  return (total / count).astype(np.float32), (deviation + 0.001).astype(np.float32)
