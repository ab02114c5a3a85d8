# SPDX-License-Identifier: Apache-2.0
"""The statistics of a federation, training and test together, as in Table 1 of FedProx (Li et al., MLSys 2020)."""

import numpy as np

from fedprox_tff.datasets.base import FederatedDataset, Statistics

# Of MNIST the authors' script, run with 200 seeds, gives 69,017 to 69,113 samples with a mean of 69, as here, but
# standard deviations of 119 to 260 with a median of 166: the published 106 is not typical of it. Report one's own.
PAPER = {
  'mnist': Statistics(devices=1000, samples=69035, mean=69, stdev=106),
  'femnist': Statistics(devices=200, samples=18345, mean=92, stdev=159),
  'sent140': Statistics(devices=772, samples=40783, mean=53, stdev=32),
  'shakespeare': Statistics(devices=143, samples=517106, mean=3616, stdev=6808),
}


def statistics(dataset: FederatedDataset) -> Statistics:
  """Returns the federation's row of Table 1; the deviation is that of the population of its devices."""
  sizes = dataset.train.sizes + dataset.test.sizes
  return Statistics(dataset.num_clients, int(sizes.sum()), float(sizes.mean()), float(np.std(sizes)))


def class_counts(dataset: FederatedDataset, client: int) -> np.ndarray:
  """Returns how many examples of each class a client holds, int64 [num_classes]; they have one label each."""
  labels = np.concatenate([split.client(client).y for split in (dataset.train, dataset.test)])
  return np.bincount(labels, minlength=dataset.num_classes)


def describe(dataset: FederatedDataset) -> str:
  """Returns the federation's statistics as a line, and under it the paper's where the paper has this federation.

  Where an example has one label, another line says how many classes the clients hold.
  """
  rows = {'this federation': statistics(dataset)}
  if dataset.paper is not None:
    rows['the paper'] = dataset.paper
  lines = [
    f'{title:15}  {row.devices:>7,} devices  {row.samples:>10,} samples  '
    f'{row.mean:>7,.0f} a device on average, standard deviation {row.stdev:,.0f}'
    for title, row in rows.items()
  ]
  if not dataset.task.label_shape:
    held = [np.count_nonzero(class_counts(dataset, client)) for client in range(dataset.num_clients)]
    each = f'{np.mean(held):,.1f} on average, {min(held):,} to {max(held):,}'
    lines.append(
      f'{"its classes":15}  {dataset.num_classes:>7,} in all, a device holds '
      f'{each if min(held) < max(held) else min(held)}'
    )
  return '\n'.join(lines)
