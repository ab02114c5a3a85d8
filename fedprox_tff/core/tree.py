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


def mix(share: Any, a: Weights, b: Weights) -> Weights:
  """Returns share * a + (1 - share) * b for a scalar share."""
  return add(scale(share, a), scale(1 - share, b))


def zeros_like(a: Weights) -> Weights:
  """Returns zeros in the shapes of a."""
  return tuple(x - x for x in a)


def squared_norm(a: Weights) -> Any:
  """Returns ||a||^2 over all tensors together."""
  import tensorflow as tf

  return sum(tf.reduce_sum(x * x) for x in a)


def norm(a: Weights) -> Any:
  """Returns ||a|| over all tensors together."""
  return sqrt(squared_norm(a))


def sqrt(x: Any) -> Any:
  """Returns the square root of each number."""
  import tensorflow as tf

  return tf.sqrt(x)


def sign(x: Any) -> Any:
  """Returns -1, 0 or 1 for each number."""
  import tensorflow as tf

  return tf.sign(x)


def minimum(x: Any, y: Any) -> Any:
  """Returns the smaller of each two numbers."""
  import tensorflow as tf

  return tf.minimum(x, y)


def maximum(x: Any, y: Any) -> Any:
  """Returns the larger of each two numbers."""
  import tensorflow as tf

  return tf.maximum(x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
  """Returns x where the condition holds, else y."""
  import tensorflow as tf

  return tf.where(condition, x, y)


def divide(x: Any, y: Any) -> Any:
  """Returns x / y, and 0 for y = 0."""
  import tensorflow as tf

  return tf.math.divide_no_nan(x, y)


def as_float(x: Any) -> Any:
  """Returns a number, such as a count, as float32."""
  import tensorflow as tf

  return tf.cast(x, tf.float32)


def log(x: Any) -> Any:
  """Returns the natural logarithm of each number."""
  import tensorflow as tf

  return tf.math.log(x)


def softplus(x: Any) -> Any:
  """Returns log(1 + exp(x)) for each number."""
  import tensorflow as tf

  return tf.math.softplus(x)


def unit_rows(x: Any) -> Any:
  """Returns each row divided by its length. A row of zeros stays as it is, and has no gradient."""
  import tensorflow as tf

  squared = tf.reduce_sum(x * x, axis=-1, keepdims=True)
  has_length = squared > 0
  return tf.where(has_length, x * tf.math.rsqrt(tf.where(has_length, squared, 1.0)), 0.0)


def dot_rows(x: Any, y: Any) -> Any:
  """Returns the inner product of each row of x with that row of y."""
  import tensorflow as tf

  return tf.reduce_sum(x * y, axis=-1)


def softmax(x: Any) -> Any:
  """Returns exp(x) / sum exp(x) along the last axis."""
  import tensorflow as tf

  return tf.nn.softmax(x)


def mean_of_rows(x: Any) -> Any:
  """Returns the mean over the first axis, 0 of no rows."""
  import tensorflow as tf

  return divide(tf.reduce_sum(x, axis=0), as_float(tf.shape(x)[0]))
