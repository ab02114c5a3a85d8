# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: 60,000 colour images of 32 x 32 in 10 classes, Krizhevsky (2009). The FedProx paper has no such data set.

The 50,000 training images are split over clients; the official 10,000 test images are dealt to them as
`official_test` says, so that the test accuracy is that on the official test set.
"""

from typing import Annotated

from fedprox_tff.datasets import base, cifar_files, image_inputs, official_test
from fedprox_tff.datasets.partitions import Partition

# Of each channel over the official training images, on a scale from 0 to 1, as is published in many places.
MEAN = (0.49139968, 0.48215841, 0.44653091)
DEVIATION = (0.24703223, 0.24348513, 0.26158784)


def cifar10(
  *,
  data_dir: str | None = None,
  data_seed: int = 0,
  num_clients: Annotated[int, (1, None)] = 100,
  augmentation: image_inputs.Augmentation = 'none',
) -> base.DataSet:
  """Returns CIFAR-10, x of uint8 [n, 32, 32, 3], from `data_dir` or the other places of `cifar_files.find`.

  Args:
    data_dir: Folder with the data's files; without it $FEDPROX_DATA_DIR, then the cache, then a download.
    data_seed: Seed of the split over clients.
    num_clients: Number of clients in the federation.
    augmentation: How images differ from step to step.
  """
  release = cifar_files.CIFAR10

  def load(partition: Partition) -> base.FederatedDataset:
    train, test, source = cifar_files.read(release, data_dir)
    return official_test.federate(
      'cifar10',
      train,
      test,
      num_classes=release.num_classes,
      inputs=image_inputs.colour_inputs(augmentation, train.x.shape[1:], mean=MEAN, deviation=DEVIATION),
      source=source,
      data_seed=data_seed,
      partition=partition,
      num_clients=num_clients,
    )

  title = f'{release.title}{image_inputs.TITLES[augmentation]}'
  return base.DataSet('cifar10', title, 0.03, load, partition='dirichlet', num_clients=num_clients, model='cnn')
