# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core import draws
from fedprox_tff.datasets.image_inputs import by_itself, colour_inputs

MEAN, DEVIATION = (0.25, 0.5, 0.75), (0.5, 0.25, 0.125)
IMAGES = np.random.default_rng(0).integers(1, 256, (200, 32, 32, 3)).astype(np.uint8)  # nothing is black but padding
KEY = tf.constant([3, 7], tf.int32)


def inputs(augmentation):
  return colour_inputs(augmentation, (32, 32, 3), mean=MEAN, deviation=DEVIATION)


def pixels(x):
  """Bytes that were standardised by channel."""
  return np.rint((x.numpy() * DEVIATION + MEAN) * 255).astype(int)


def alone(image):
  """An image that is standardised by its own mean and deviation."""
  image = image / 255
  return (image - image.mean()) / image.std()


def test_a_channel_is_standardised_by_its_mean_and_deviation():
  made = inputs('none')
  assert made.augment is None
  assert made.shape == (32, 32, 3)
  x = np.zeros((1, 32, 32, 3), np.uint8)
  x[0, 3, 4] = (255, 51, 102)
  prepared = made.prepare(tf.constant(x)).numpy()
  assert prepared.dtype == np.float32
  assert prepared[0, 3, 4] == pytest.approx([(1 - 0.25) / 0.5, (0.2 - 0.5) / 0.25, (0.4 - 0.75) / 0.125], rel=1e-6)
  assert prepared[0, 0, 0] == pytest.approx([-0.5, -2.0, -6.0], rel=1e-6)


def test_an_image_is_standardised_by_itself():
  x = IMAGES[:3]
  assert np.allclose(by_itself(tf.constant(x)).numpy(), [alone(image) for image in x], atol=1e-4)


def test_an_image_of_one_colour_becomes_zero_and_a_nearly_plain_one_stays_small():
  x = np.full((2, 24, 24, 3), 80, np.uint8)
  x[1, 0, 0, 0] = 180
  made = by_itself(tf.constant(x)).numpy()
  assert np.abs(made[0]).max() < 1e-4
  # The deviation, 100 / 255 / sqrt(1728), is below the least, 1 / sqrt(1728).
  assert made[1, 0, 0, 0] == pytest.approx((100 / 255) * (1 - 1 / 1728) * np.sqrt(1728), rel=1e-4)


def find_window(image, window):
  """Returns where a window lies in an image, top, left and whether it is mirrored; nothing if nowhere."""
  side = len(window)
  places = range(len(image) - side + 1)
  return [
    (top, left, mirrored)
    for top in places
    for left in places
    for mirrored in (False, True)
    if np.array_equal(image[top : top + side, left : left + side][:, :: -1 if mirrored else 1], window)
  ]


def test_crops_are_windows_of_the_padded_image_each_drawn_for_itself():
  made = inputs('crop_flip')
  x = pixels(made.augment(tf.constant(IMAGES), KEY))
  padded = np.pad(IMAGES, [(0, 0), (4, 4), (4, 4), (0, 0)])
  found = [find_window(image, window) for image, window in zip(padded, x, strict=True)]
  assert all(len(places) == 1 for places in found)
  top, left, mirrored = np.array([places[0] for places in found]).T
  assert set(top) == set(left) == set(range(9))
  assert abs(np.corrcoef(top, left)[0, 1]) < 0.25
  assert abs(top.mean() - 4) < 0.6  # three standard deviations
  assert abs(left.mean() - 4) < 0.6
  assert 75 <= mirrored.sum() <= 125
  assert made.shape == (32, 32, 3)


def test_federatedx_sees_the_middle_in_evaluation():
  made = inputs('federatedx')
  assert made.shape == (24, 24, 3)
  x = made.prepare(tf.constant(IMAGES[:5])).numpy()
  assert np.allclose(x, [alone(image[4:28, 4:28]) for image in IMAGES[:5]], atol=1e-4)


def turned(image, top, left, mirrored, angle):
  """A window as the module's docstring says it, a pixel at a time."""
  window = image[top : top + 24, left : left + 24][:, :: -1 if mirrored else 1]
  result = np.zeros_like(window)
  for row in range(24):
    for column in range(24):
      down, right = row - 11.5, column - 11.5
      source = (
        int(np.rint(np.cos(angle) * down + np.sin(angle) * right + 11.5)),
        int(np.rint(np.cos(angle) * right - np.sin(angle) * down + 11.5)),
      )
      if 0 <= min(source) <= max(source) < 24:
        result[row, column] = window[source]
  return result


def test_federatedx_crops_mirrors_and_turns():
  x = inputs('federatedx').augment(tf.constant(IMAGES[:8]), KEY).numpy()
  drawn = draws.uniform([8, 4], KEY).numpy()
  for image, made, (top, left, mirrored, angle) in zip(IMAGES, x, drawn, strict=False):
    wanted = turned(image, int(9 * top), int(9 * left), mirrored < 0.5, np.radians(30 * angle - 15))
    wrong = np.abs(made - alone(wanted)).max(axis=-1) > 1e-3
    assert wrong.mean() < 0.01  # a place half way between two pixels may be rounded either way
  assert len(set((drawn[:, 2] < 0.5).tolist())) == 2


def test_no_angle_is_beyond_15_degrees():
  """A single bright pixel at the middle of an edge moves along it by tan 15 degrees of 11.5 pixels at most."""
  x = np.zeros((400, 32, 32, 3), np.uint8)
  x[:, 16] = 255  # a level line
  made = inputs('federatedx').augment(tf.constant(x), KEY).numpy().mean(axis=-1) > 0
  slopes = []
  for image in made:
    rows, columns = np.nonzero(image)
    if len(rows) >= 20:
      slopes.append(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0])))
  assert 13 < max(slopes) < 16.5
  assert -16.5 < min(slopes) < -13
  assert abs(np.mean(slopes)) < 1.5


@pytest.mark.parametrize('augmentation', ['crop_flip', 'federatedx'])
class TestKeys:
  def test_a_key_gives_the_same_bits_and_another_key_others(self, augmentation):
    augment = inputs(augmentation).augment
    first, again, other = (augment(tf.constant(IMAGES), tf.constant(key)).numpy() for key in ([3, 7], [3, 7], [4, 7]))
    assert np.array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).mean() > 0.9

  def test_padding_rows_do_not_matter(self, augmentation):
    augment = inputs(augmentation).augment
    padded = IMAGES[:20].copy()
    padded[13:] = 0
    whole, short = augment(tf.constant(IMAGES[:20]), KEY).numpy(), augment(tf.constant(padded), KEY).numpy()
    assert np.array_equal(whole[:13], short[:13])

  @pytest.mark.parametrize('jit_compile', [False, True])
  def test_works_in_a_loop_with_and_without_xla(self, augmentation, jit_compile):
    augment = inputs(augmentation).augment
    shape = inputs(augmentation).shape

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([5, 32, 32, 3], tf.uint8)])
    def looped(x):
      def body(i, total):
        return i + 1, total + augment(x, tf.stack([i, 9]))

      return tf.while_loop(lambda i, total: i < 3, body, (0, tf.zeros([5, *shape])))[1]

    x = tf.constant(IMAGES[:5])
    wanted = sum(augment(x, tf.constant([i, 9])).numpy() for i in range(3))
    wrong = np.abs(looped(x).numpy() - wanted) > 1e-3
    assert wrong.mean() < (0.01 if augmentation == 'federatedx' else 1e-9)

  def test_the_number_of_rows_may_be_unknown(self, augmentation):
    augment = inputs(augmentation).augment
    signature = [tf.TensorSpec([None, 32, 32, 3], tf.uint8), tf.TensorSpec([2], tf.int32)]
    unknown = tf.function(augment, input_signature=signature)
    x = tf.constant(IMAGES[:5])
    assert np.allclose(unknown(x, KEY).numpy(), augment(x, KEY).numpy(), atol=1e-5)
