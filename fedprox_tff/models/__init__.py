# SPDX-License-Identifier: Apache-2.0
"""The models by their names on the command line. A factory's keyword parameters are flags."""

from collections.abc import Callable

from fedprox_tff.core.choices import choices_of
from fedprox_tff.models.base import Architecture as Architecture
from fedprox_tff.models.base import Model as Model
from fedprox_tff.models.cnn import cnn as cnn
from fedprox_tff.models.cnn_bn import cnn_bn as cnn_bn
from fedprox_tff.models.logistic import logistic as logistic
from fedprox_tff.models.lstm import lstm as lstm
from fedprox_tff.models.lstm_sentiment import lstm_sentiment as lstm_sentiment
from fedprox_tff.models.mlp_bn import mlp_bn as mlp_bn

MODELS: dict[str, Callable[..., Architecture]] = choices_of(vars(), __name__)
