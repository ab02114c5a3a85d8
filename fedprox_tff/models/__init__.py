# SPDX-License-Identifier: Apache-2.0
"""The models by their names on the command line, or by FILE.py:function. A factory's keyword parameters are flags."""

from collections.abc import Callable

from fedprox_tff.core.choices import choices_of
from fedprox_tff.models import keras_file
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
from fedprox_tff.models.moon_cnn import moon_cnn as moon_cnn
from fedprox_tff.models.resnet18 import resnet18 as resnet18
from fedprox_tff.models.resnet_cifar import resnet_cifar as resnet_cifar
from fedprox_tff.models.vgg import vgg as vgg


class _Models(dict[str, Callable[..., Architecture]]):
  """The table of models. Beside the names that it lists it has the functions in users' own files, FILE.py:function."""

  def __contains__(self, name: object) -> bool:
    return super().__contains__(name) or (isinstance(name, str) and keras_file.is_keras_file(name))

  def __missing__(self, name: str) -> Callable[..., Architecture]:
    if name not in self:
      raise KeyError(name)
    return keras_file.factory_of(name)


MODELS = _Models(choices_of(vars(), __name__))
