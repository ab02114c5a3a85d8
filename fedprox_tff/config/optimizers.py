# SPDX-License-Identifier: Apache-2.0
"""The optimizers of `tff.learning.optimizers` as choices, for either side of the federation.

A run has two of them, so that their parameters cannot be flags of their own: an optimizer is written `name` or
`name:key=value,key=value`, such as `adam:beta_2=0.99,epsilon=0.001`. The learning rates are flags.

`adafactor` is not among them: its state changes from int32 to float32 in its first step, which neither TFF's own
finalizer nor a local loop accepts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fedprox_tff.config.choice import Choice, choose
from fedprox_tff.config.signatures import parameters
from fedprox_tff.core.choices import Factory, Share
from fedprox_tff.core.errors import UserError


class Optimizer(NamedTuple):
  """An optimizer of TFF's, but for its learning rate."""

  name: str
  builder: str  # its name in `tff.learning.optimizers`
  settings: Mapping[str, float]

  def build(self, learning_rate: float) -> Any:
    """Returns the `tff.learning.optimizers.Optimizer`."""
    import tensorflow_federated as tff  # takes seconds; parsing must not

    return getattr(tff.learning.optimizers, self.builder)(learning_rate=learning_rate, **self.settings)


def sgd(*, momentum: Share = 0.0) -> Optimizer:
  """Returns stochastic gradient descent.

  Args:
    momentum: Decay of the momentum; 0 is plain SGD.
  """
  return Optimizer('sgd', 'build_sgdm', {'momentum': momentum} if momentum else {})


def adagrad(*, initial_preconditioner_value: float = 0.1, epsilon: float = 1e-7) -> Optimizer:
  """Returns Adagrad (Duchi et al., 2011).

  Args:
    initial_preconditioner_value: The first sum of squares.
    epsilon: Keeps the denominator away from zero.
  """
  settings = {'initial_preconditioner_value': initial_preconditioner_value, 'epsilon': epsilon}
  return Optimizer('adagrad', 'build_adagrad', settings)


def adam(*, beta_1: Share = 0.9, beta_2: Share = 0.999, epsilon: float = 1e-7) -> Optimizer:
  """Returns Adam (Kingma and Ba, 2015).

  Args:
    beta_1: Decay of the first moment.
    beta_2: Decay of the second moment.
    epsilon: Keeps the denominator away from zero.
  """
  return Optimizer('adam', 'build_adam', {'beta_1': beta_1, 'beta_2': beta_2, 'epsilon': epsilon})


def adamw(
  *, beta_1: Share = 0.9, beta_2: Share = 0.999, epsilon: float = 1e-7, weight_decay: float = 0.004
) -> Optimizer:
  """Returns Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

  Args:
    beta_1: Decay of the first moment.
    beta_2: Decay of the second moment.
    epsilon: Keeps the denominator away from zero.
    weight_decay: Strength of the weight decay.
  """
  settings = {'beta_1': beta_1, 'beta_2': beta_2, 'epsilon': epsilon, 'weight_decay': weight_decay}
  return Optimizer('adamw', 'build_adamw', settings)


def rmsprop(*, decay: Share = 0.9, epsilon: float = 1e-7) -> Optimizer:
  """Returns RMSProp (Hinton, 2012).

  Args:
    decay: Decay of the second moment.
    epsilon: Keeps the denominator away from zero.
  """
  return Optimizer('rmsprop', 'build_rmsprop', {'decay': decay, 'epsilon': epsilon})


def yogi(
  *, beta_1: Share = 0.9, beta_2: Share = 0.999, epsilon: float = 1e-3, initial_preconditioner_value: float = 1e-6
) -> Optimizer:
  """Returns Yogi (Zaheer et al., 2018).

  Args:
    beta_1: Decay of the first moment.
    beta_2: Decay of the second moment.
    epsilon: Keeps the denominator away from zero.
    initial_preconditioner_value: The first second moment.
  """
  settings = {'beta_1': beta_1, 'beta_2': beta_2, 'epsilon': epsilon}
  return Optimizer('yogi', 'build_yogi', settings | {'initial_preconditioner_value': initial_preconditioner_value})


OPTIMIZERS: Mapping[str, Factory] = {f.__name__: f for f in (sgd, adagrad, adam, adamw, rmsprop, yogi)}


def parse(flag: str, text: str) -> Choice:
  """Returns the optimizer that a text such as 'adam:beta_2=0.99' chooses.

  Raises:
    UserError: If the text does not name an optimizer and values that it allows; it says what is allowed.
  """

  def refuse(allowed: str) -> UserError:
    return UserError(f'--{flag}={text}: {allowed} is needed.')

  if not isinstance(text, str) or (name := text.partition(':')[0]) not in OPTIMIZERS:
    raise refuse(f'one of {", ".join(OPTIMIZERS)}')
  known, given = parameters(OPTIMIZERS[name]), {}
  _, colon, settings = text.partition(':')
  for setting in settings.split(',') if colon else ():
    key, _, value = setting.partition('=')
    if key not in known:
      raise refuse(f'{name} or {name}:key=value,... with keys from {", ".join(known)}')
    if key in given:
      raise refuse(f'{name} with {key} only once')
    try:
      given[key] = known[key].parse(value)
    except UserError:
      raise refuse(f'{name}:{key}= and {known[key].allowed()}') from None
  return choose(OPTIMIZERS[name], name, given)


def as_text(optimizer: Choice) -> str:
  """Returns the shortest text that `parse` makes this optimizer of."""
  settings = ','.join(f'{key}={value}' for key, value in optimizer.differing().items())
  return f'{optimizer.name}:{settings}' if settings else optimizer.name
