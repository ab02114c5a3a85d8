# SPDX-License-Identifier: Apache-2.0
"""How colour images in bytes come to a network: standardised, and in local steps a little different each time.

  none         every channel becomes (x / 255 - mean) / deviation
  crop_flip    the same, of a random window of the image's size out of the image with 4 black pixels around it, mirrored
               with probability 1/2, as is usual for CIFAR (He et al., "Deep Residual Learning", CVPR 2016, Section 4.2)
  federatedx   as FederatedX does (Lei et al., arXiv:2511.00469, 2025): a random window of 24 x 24, mirrored with
               probability 1/2, turned by up to 15 degrees, and standardised by its own mean and deviation. Evaluation
               sees the middle 24 x 24

All of a pixel's way is computed at once, so that an image is read once: where a place of the result lies in the
original. A place outside is black. What an image is drawn depends on the step's key and the image's row alone.

This module's functions import TensorFlow when they are called, within a graph.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from fedprox_tff.core import draws
from fedprox_tff.core.task import Inputs

Augmentation = Literal['none', 'crop_flip', 'federatedx']

PADDING = 4  # black pixels around an image that is cropped to its own size
WINDOW = 24  # pixels: the side of FederatedX's window
DEGREES = 15.0  # by which FederatedX turns an image at most, either way
TITLES = {'none': '', 'crop_flip': ', crops and flips', 'federatedx': ', augmented as FederatedX'}


class Moments(NamedTuple):
  """What the pixels of a data set are standardised by, on a scale from 0 to 1."""

  mean: Sequence[float]  # of each channel over the training images
  deviation: Sequence[float]  # the standard deviation of each channel


@functools.cache  # two splits of one data set are one task, and share what is compiled
def colour_inputs(
  augmentation: Augmentation, shape: tuple[int, int, int], *, mean: Sequence[float], deviation: Sequence[float]
) -> Inputs:
  """Returns what images in bytes, uint8 [n, height, width, channels], mean to a network.

  Args:
    augmentation: What local steps see.
    shape: An image's height, width and channels.
    mean: The mean of each channel over the training images, on a scale from 0 to 1.
    deviation: The standard deviation of each channel.
  """
  height, width, channels = shape

  # Of an image's shape: TensorFlow takes thrice the time to stretch three numbers over all pixels.
  factor = np.broadcast_to(1 / (255 * np.array(deviation)), shape).astype(np.float32)
  shift = np.broadcast_to(np.array(mean) / np.array(deviation), shape).astype(np.float32)

  def by_channel(x):
    import tensorflow as tf

    return tf.cast(x, tf.float32) * factor - shift

  if augmentation == 'none':
    return Inputs('images', prepare=by_channel, shape=shape)
  if augmentation == 'crop_flip':

    def crop_flip(x, key):
      top, left, mirrored, _ = _draws(x, key)
      top, left = (_whole(drawn, 2 * PADDING + 1) - PADDING for drawn in (top, left))
      return by_channel(_look(x, *_window((height, width), top, left, mirrored < 0.5)))

    return Inputs('images', prepare=by_channel, augment=crop_flip, shape=shape)

  def middle(x):
    top, left = (height - WINDOW) // 2, (width - WINDOW) // 2
    return by_itself(x[:, top : top + WINDOW, left : left + WINDOW])

  def crop_flip_turn(x, key):
    top, left, mirrored, angle = _draws(x, key)
    top, left = _whole(top, height - WINDOW + 1), _whole(left, width - WINDOW + 1)
    angle = (2 * angle - 1) * math.radians(DEGREES)
    return by_itself(_look(x, *_window((WINDOW, WINDOW), top, left, mirrored < 0.5, angle=angle)))

  return Inputs('images', prepare=middle, augment=crop_flip_turn, shape=(WINDOW, WINDOW, channels))


def by_itself(x: Any) -> Any:
  """Standardises each image by its own mean and deviation, over all pixels and channels, on a scale from 0 to 1.

  The deviation counts as 1 / sqrt(n) at least, n the number of an image's values, so that an image of one colour
  becomes 0.
  """
  import tensorflow as tf

  x = tf.cast(x, tf.float32) / 255
  mean, variance = tf.nn.moments(x, axes=[1, 2, 3], keepdims=True)
  return (x - mean) / tf.maximum(tf.sqrt(variance), 1 / math.sqrt(math.prod(x.shape[1:])))


def _draws(x: Any, key: Any) -> Any:
  """Draws four numbers from 0 to below 1 for each image, float [4, batch, 1, 1]."""
  import tensorflow as tf

  drawn = draws.uniform([tf.shape(x)[0], 4], key)
  return tf.unstack(tf.transpose(drawn)[:, :, tf.newaxis, tf.newaxis])


def _whole(drawn: Any, count: int) -> Any:
  """Makes of numbers from 0 to below 1 whole ones from 0 to count - 1."""
  import tensorflow as tf

  return tf.cast(drawn * count, tf.int32)


def _window(size: tuple[int, int], top: Any, left: Any, mirrored: Any, *, angle: Any = None) -> tuple[Any, Any, Any]:
  """Returns for each pixel of a window its row and column in the image, and whether it is in the window as it lies.

  Args:
    size: The window's height and width.
    top: The row of the image, int [batch, 1, 1], where the window begins.
    left: The column.
    mirrored: Whether right and left change places, bool [batch, 1, 1].
    angle: By how many radians the window, mirrored or not, is turned around its middle, float [batch, 1, 1]; what
      turns in from outside the window is black. None: it is not turned.

  Returns:
    int32 [batch, height, width] twice, and bool of this shape, or True.
  """
  import tensorflow as tf

  height, width = size
  rows, columns = (tf.constant(each[np.newaxis], tf.int32) for each in np.indices(size))
  inside = True
  if angle is not None:
    middle = ((height - 1) / 2, (width - 1) / 2)
    down, right = (tf.cast(place, tf.float32) - at for place, at in zip((rows, columns), middle, strict=True))
    cosine, sine = tf.cos(angle), tf.sin(angle)
    rows = tf.cast(tf.round(cosine * down + sine * right + middle[0]), tf.int32)  # the nearest pixel
    columns = tf.cast(tf.round(cosine * right - sine * down + middle[1]), tf.int32)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  columns = tf.where(mirrored, width - 1 - columns, columns)
  return rows + top, columns + left, inside


def _look(x: Any, rows: Any, columns: Any, inside: Any) -> Any:
  """Returns the pixels at some places of each image, uint8 [batch, height, width, channels]; black if outside.

  Args:
    x: The images, uint8 [batch, ..., ..., channels].
    rows: int32 [batch or 1, height, width].
    columns: int32 [batch or 1, height, width].
    inside: False where a pixel is black anyway.
  """
  import tensorflow as tf

  height, width, channels = x.shape[1:]
  inside = inside & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  black = height * width  # the place of a pixel behind the last
  pixels = tf.pad(tf.reshape(x, [-1, black, channels]), [[0, 0], [0, 1], [0, 0]])
  return tf.gather(pixels, tf.where(inside, rows * width + columns, black), batch_dims=1)
