# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 for small images, FederatedX's network for CIFAR: a 3x3 stem of 64 channels, and no pooling after it.

Four stages of two blocks have 64, 128, 256 and 512 channels; `resnet` describes a block. FederatedX normalises by 2
groups of channels, the default here; 11,220,132 parameters with 100 classes. Batch normalisation has as many that
learn, and 9,600 running statistics.
"""

from typing import Annotated

from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model
from fedprox_tff.models.resnet import Normalisation, residual_network


def resnet18(*, normalisation: Normalisation = 'group', groups: Annotated[int, (1, None)] = 2) -> Architecture:
  """Returns the network for images.

  Args:
    normalisation: How layers are normalised.
    groups: Groups of channels of group normalisation.
  """

  def build(task: Task, *, seed: int) -> Model:
    widths = (64, 128, 256, 512)
    model = residual_network(
      'resnet18', task, seed=seed, widths=widths, blocks=2, normalisation=normalisation, groups=groups
    )
    return model._replace(chunk=64)

  return Architecture('resnet18', 'ResNet-18', build)
