# SPDX-License-Identifier: Apache-2.0
"""Small tasks that networks can be built for."""

from fedprox_tff.core.task import Inputs, Task

IMAGES = Task((8, 8, 1), 10)
COLOUR_IMAGES = Task((32, 32, 3), 10)
TEXT = Task((12,), 20, Inputs('tokens', vocabulary=20))
GRAPHS = Task((9, 1 + 4), 2, Inputs('graphs', vocabulary=6))

SENTIMENTS = TEXT._replace(num_classes=2)

# VGG and MOON's network have something left of such images at their ends.
_OTHERS = {'vgg': COLOUR_IMAGES, 'moon_cnn': COLOUR_IMAGES, 'lstm': TEXT, 'lstm_sentiment': SENTIMENTS, 'gin': GRAPHS}


def task_for(model: str) -> Task:
  """Returns a task that a model of this name fits."""
  return _OTHERS.get(model, IMAGES)
