# SPDX-License-Identifier: Apache-2.0
"""The small residual networks for CIFAR (He et al., CVPR 2016, arXiv:1512.03385, section 4.2).

Three stages of n blocks have 16, 32 and 64 channels; `resnet` describes a block. The depth is 6 n + 2. With 100 classes
ResNet-8 has 83,892 parameters and ResNet-20 278,324, shortcuts of kind B among them, where the paper's CIFAR networks
have kind A, without parameters. The paper normalises by the batch. By groups of channels is the default here, as in
`resnet18`: no example's output then depends on which others are in its batch, nor on other clients' statistics.
"""

from typing import Annotated, Literal

from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model
from fedprox_tff.models.resnet import Normalisation, residual_network


def resnet_cifar(
  *,
  depth: Literal[8, 14, 20, 32, 44, 56] = 20,
  normalisation: Normalisation = 'group',
  groups: Annotated[int, (1, None)] = 2,
) -> Architecture:
  """Returns the network for images.

  Args:
    depth: Layers with weights.
    normalisation: How layers are normalised.
    groups: Groups of channels of group normalisation.
  """

  def build(task: Task, *, seed: int) -> Model:
    widths, blocks = (16, 32, 64), (depth - 2) // 6
    model = residual_network(
      'resnet_cifar', task, seed=seed, widths=widths, blocks=blocks, normalisation=normalisation, groups=groups
    )
    return model._replace(chunk=256)

  return Architecture('resnet_cifar', f'ResNet-{depth}', build)
