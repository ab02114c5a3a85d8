# SPDX-License-Identifier: Apache-2.0
"""Models by their names on the command line, each built from the data's shape and the run's seed."""

from fedprox_tff.models.base import Model
from fedprox_tff.models.cnn import cnn
from fedprox_tff.models.logistic import logistic

MODELS = {
  'cnn': cnn,
  'logistic': logistic,
}

__all__ = ['MODELS', 'Model', 'cnn', 'logistic']
