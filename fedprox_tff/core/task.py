# SPDX-License-Identifier: Apache-2.0
"""What a network has to know of a data set: what its examples are, and what is predicted of them.

Data sets say it and networks read it; neither knows the other.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What the numbers in an example's x mean.

  Attributes:
    kind: 'features', measurements without an order of their own; 'images', [height, width, channels]; 'tokens', the
      places of a text's words or letters in a vocabulary, [length]; or 'graphs', [nodes, 1 + degree]: of each node its
      kind from 1, and its neighbours' places from 1, with 0 for a node or a neighbour that is not there.
    vocabulary: Of tokens and graphs: every token, and every node's kind, is a whole number from 0 below this one. 0
      stands for padding.
    prepare: `x` as a data set keeps it to the floats that a network computes with, in TensorFlow operations, such as
      bytes to standardised pixels. None: x is as a network takes it.
    augment: `(x, key)` to the same in a local step, where an example looks a little different each time; `key`, int32
      [2], is all that it draws from, by `core.draws`. None: a local step sees what evaluation does.
    shape: Of an example's x after `prepare`, where that changes it.
    vectors: float32 [vocabulary, size]: what tokens mean, of a file that somebody else has trained. They do not learn.
      None: a network learns vectors of its own.
  """

  kind: Literal['features', 'images', 'tokens', 'graphs'] = 'features'
  vocabulary: int = 0
  prepare: Callable[[Any], Any] | None = None
  augment: Callable[[Any, Any], Any] | None = None
  shape: tuple[int, ...] | None = None
  vectors: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)


FEATURES = Inputs()


class Task(NamedTuple):
  """Examples and labels, as a network meets them.

  Attributes:
    input_shape: The shape of one example's x as it comes to the network, after `Inputs.prepare`.
    num_classes: How many classes there are.
    inputs: What x means.
    label_shape: () where an example has one label; (length,) where it has one at each of its places, -1 where there is
      nothing to predict.
  """

  input_shape: tuple[int, ...]
  num_classes: int
  inputs: Inputs = FEATURES
  label_shape: tuple[int, ...] = ()
