# SPDX-License-Identifier: Apache-2.0
"""The models by their names on the command line. A factory's keyword parameters are flags."""

from collections.abc import Callable

from fedprox_tff.core.choices import choices_of
from fedprox_tff.models.base import Architecture as Architecture
from fedprox_tff.models.base import Model as Model
from fedprox_tff.models.cnn import cnn as cnn
from fedprox_tff.models.cnn_bn import cnn_bn as cnn_bn
from fedprox_tff.models.convnet2 import convnet2 as convnet2
from fedprox_tff.models.fedbn_cnn import fedbn_cnn as fedbn_cnn
from fedprox_tff.models.gin import gin as gin
from fedprox_tff.models.logistic import logistic as logistic
from fedprox_tff.models.lstm import lstm as lstm
from fedprox_tff.models.lstm_sentiment import lstm_sentiment as lstm_sentiment
from fedprox_tff.models.mlp_bn import mlp_bn as mlp_bn
from fedprox_tff.models.resnet18 import resnet18 as resnet18
from fedprox_tff.models.resnet_cifar import resnet_cifar as resnet_cifar
from fedprox_tff.models.vgg import vgg as vgg

MODELS: dict[str, Callable[..., Architecture]] = choices_of(vars(), __name__)
