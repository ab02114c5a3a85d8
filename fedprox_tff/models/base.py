# SPDX-License-Identifier: Apache-2.0
"""A classifier as pure functions of its weights, and the architecture that makes one for a data set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.core.tree import Weights


class Model(NamedTuple):
  """A classifier with cross-entropy loss.

  Attributes:
    name: The name on the command line.
    initial_weights: One float32 array for each variable, drawn from the run's seed.
    logits: `(weights, x)` to logits [batch, num_classes], in TensorFlow operations.
    step_logits: The same function in the operations that are the fastest for the few examples of a local step.
    input_shape: The shape of one example's features.
    jit_compile: Whether XLA makes a local step faster on a CPU. It halves the step of small dense models; TensorFlow's
      own convolutions are far faster than XLA's there.
    normalisation: For each weight whether a normalisation layer owns it: scale gamma, shift beta and the running
      statistics, which are weights like all others, of gradient zero. Empty: the model has no such layer.
    train_logits: `(weights, x, mask)` to the logits that a local step sees, where normalisation is by the batch's own
      statistics, and to the new values of the running ones by their place in the weights. `mask`, float [batch], is 1
      for examples and 0 for padding. None: `step_logits`, and nothing that runs.
    component_logits: Of a mixture of M models: `(weights, x)` to their logits, [batch, M, num_classes].
  """

  name: str
  initial_weights: Weights
  logits: Callable[[Weights, Any], Any]
  step_logits: Callable[[Weights, Any], Any]
  input_shape: tuple[int, ...]
  jit_compile: bool
  normalisation: tuple[bool, ...] = ()
  train_logits: Callable[[Weights, Any, Any], tuple[Any, Mapping[int, Any]]] | None = None
  component_logits: Callable[[Weights, Any], Any] | None = None


class Architecture(NamedTuple):
  """A model that a run chooses by name, before the data are known.

  Attributes:
    name: The name on the command line.
    title: What figures and captions call it.
    build: `(input_shape, num_classes, *, seed)` to the `Model` for examples of that shape, with initial weights that
      are drawn from the run's seed. It raises `ValueError` if examples of that shape do not fit.
  """

  name: str
  title: str
  build: Callable[..., Model]


def glorot_uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
  """Draws a kernel from U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010), in float32.

  Args:
    rng: The generator to draw from.
    shape: The kernel's shape, [..., inputs, outputs]; leading axes are the receptive field of a convolution.
  """
  receptive_field = int(np.prod(shape[:-2]))
  limit = np.sqrt(6 / (receptive_field * (shape[-2] + shape[-1])))
  return rng.uniform(-limit, limit, shape).astype(np.float32)
