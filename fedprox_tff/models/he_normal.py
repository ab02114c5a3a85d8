# SPDX-License-Identifier: Apache-2.0
"""The initial weights of deep networks with ReLUs."""

import math
from collections.abc import Sequence

import numpy as np


def he_normal(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
  """Draws a kernel from N(0, 2 / fan_in) (He et al., ICCV 2015, arXiv:1502.01852, section 2.2), in float32.

  Args:
    rng: The generator to draw from.
    shape: The kernel's shape, [..., inputs, outputs]; leading axes are the receptive field of a convolution.
  """
  return (rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[:-1]))).astype(np.float32)
