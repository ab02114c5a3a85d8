# SPDX-License-Identifier: Apache-2.0
"""The network of MOON for CIFAR-10 (Li, He and Song, CVPR 2021, arXiv:2103.16257), with its projection head.

Two 5x5 convolutions without padding, with 6 and 16 channels, each followed by a ReLU and 2x2 max pooling; dense layers
of 120 and 84 units with ReLUs; the projection head, a dense layer of 84 units with a ReLU and one of 256 without; and
the output layer on top of these 256. On CIFAR-10 it has 92,626 parameters, and on 28x28 images in grey with 10 classes,
where the authors' code has the same layers, 75,046. Kernels are Glorot-uniform and biases zero at the start, as in this
suite's other networks.

A local step on 10 images of CIFAR-10 takes 1.3 to 2.2 ms, and 11 ms if XLA compiles it (one thread).
"""

import itertools

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model, glorot_uniform, require_images


def moon_cnn() -> Architecture:
  """Returns the network for images of at least 16x16 pixels."""

  def build(task: Task, *, seed: int) -> Model:
    height, width, channels = require_images('moon_cnn', task)
    if min(height, width) < 16:
      raise ValueError(f'The model moon_cnn needs images of at least 16x16 pixels, not {height}x{width}.')
    flat = _after_convolutions(height) * _after_convolutions(width) * 16
    rng = streams.generator('model', seed)
    shapes = [(5, 5, channels, 6), (5, 5, 6, 16)]
    shapes += itertools.pairwise((flat, 120, 84, 84, 256, task.num_classes))
    weights = []
    for shape in shapes:
      weights += [glorot_uniform(rng, shape), np.zeros(shape[-1], np.float32)]

    def logits(weights, x):
      import tensorflow as tf

      layers = list(zip(weights[::2], weights[1::2], strict=True))
      for kernel, bias in layers[:2]:
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=1, padding='VALID') + bias)
        x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding='VALID')
      x = tf.reshape(x, [-1, flat])
      for kernel, bias in layers[2:5]:
        x = tf.nn.relu(x @ kernel + bias)
      for kernel, bias in layers[5:]:
        x = x @ kernel + bias
      return x

    return Model('moon_cnn', tuple(weights), logits, logits, task.input_shape, jit_compile=False)

  return Architecture('moon_cnn', "MOON's CNN", build)


def _after_convolutions(pixels: int) -> int:
  """Returns how many pixels of a row are left behind both convolutions and poolings."""
  return ((pixels - 4) // 2 - 4) // 2
