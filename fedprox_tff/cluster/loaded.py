# SPDX-License-Identifier: Apache-2.0
"""What each node of a cluster loads by itself; known without TensorFlow."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Loaded(NamedTuple):
  """What a node has loaded."""

  arrays: Sequence[np.ndarray]  # what all clients have in common, such as the examples of a federation
  fingerprint: str
  source: str  # where it comes from
