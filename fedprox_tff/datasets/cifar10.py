# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: `cifar` says what it is made into. It has 10 classes."""

from typing import Annotated

from fedprox_tff.datasets import base, cifar, cifar_files, image_inputs

# Of each channel over the official training images, on a scale from 0 to 1, as is published in many places.
MOMENTS = image_inputs.Moments(
  mean=(0.49139968, 0.48215841, 0.44653091), deviation=(0.24703223, 0.24348513, 0.26158784)
)


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
  return cifar.data_set(
    'cifar10',
    cifar_files.CIFAR10,
    MOMENTS,
    data_dir=data_dir,
    data_seed=data_seed,
    num_clients=num_clients,
    augmentation=augmentation,
  )
