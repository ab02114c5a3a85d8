# SPDX-License-Identifier: Apache-2.0
"""What CIFAR-10 and CIFAR-100 have in common: 60,000 colour images of 32 x 32, Krizhevsky (2009).

The 50,000 training images are split over clients; the official 10,000 test images are dealt to them as
`official_test` says, so that the test accuracy is that on the official test set. The FedProx paper has no such data
set. Images stay bytes in memory, and become standardised floats in the graph.
"""

from fedprox_tff.datasets import base, cifar_files, image_inputs, official_test
from fedprox_tff.datasets.cifar_files import Release
from fedprox_tff.datasets.image_inputs import Augmentation, Moments
from fedprox_tff.datasets.partitions import Partition


def data_set(
  name: str,
  release: Release,
  moments: Moments,
  *,
  data_dir: str | None,
  data_seed: int,
  num_clients: int,
  augmentation: Augmentation,
) -> base.DataSet:
  """Returns a data set of images, x of uint8 [n, 32, 32, 3].

  Args:
    name: The name on the command line.
    release: The files that it is in.
    moments: What its pixels are standardised by.
    data_dir: The flag of this name, as are the others.
    data_seed: Seed of the split over clients.
    num_clients: Number of clients in the federation.
    augmentation: How images differ from step to step.
  """

  def load(partition: Partition) -> base.FederatedDataset:
    train, test, source = cifar_files.read(release, data_dir)
    return official_test.federate(
      name,
      train,
      test,
      num_classes=release.num_classes,
      inputs=image_inputs.colour_inputs(augmentation, train.x.shape[1:], **moments._asdict()),
      source=source,
      data_seed=data_seed,
      partition=partition,
      num_clients=num_clients,
    )

  title = f'{release.title}{image_inputs.TITLES[augmentation]}'
  return base.DataSet(name, title, 0.03, load, partition='dirichlet', num_clients=num_clients, model='cnn')
