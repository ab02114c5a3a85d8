# SPDX-License-Identifier: Apache-2.0
"""The algebra of weights: a tuple of tensors is one vector.

Everything here is plain Python over the tensors' own operators, so that an algorithm's file can be read, imported and
tested without TensorFlow.
"""

from typing import Any

Weights = tuple[Any, ...]  # one tensor or array for each variable of the model


def add(a: Weights, b: Weights) -> Weights:
  """Returns a + b."""
  return tuple(x + y for x, y in zip(a, b, strict=True))


def sub(a: Weights, b: Weights) -> Weights:
  """Returns a - b."""
  return tuple(x - y for x, y in zip(a, b, strict=True))


def scale(factor: Any, a: Weights) -> Weights:
  """Returns factor * a for a scalar factor."""
  return tuple(factor * x for x in a)


def zeros_like(a: Weights) -> Weights:
  """Returns zeros in the shapes of a."""
  return tuple(x - x for x in a)
