# SPDX-License-Identifier: Apache-2.0
"""The optimizers of `tff.learning.optimizers` by name, for either side of the federation.

`adafactor` is not among them: its state changes from int32 to float32 in its first step, which neither TFF's own
finalizer nor a local loop accepts.

An optimizer is written `name` or `name:key=value,key=value`, such as `adam:beta_2=0.99,epsilon=0.001`; the learning
rate has its own flag.
"""

import math
from typing import Any

# name -> (builder in tff.learning.optimizers, its hyperparameters beside the learning rate), so that a typo is found
# without importing TFF.
OPTIMIZERS = {
  'sgd': ('build_sgdm', ('momentum',)),
  'adagrad': ('build_adagrad', ('initial_preconditioner_value', 'epsilon')),
  'adam': ('build_adam', ('beta_1', 'beta_2', 'epsilon')),
  'adamw': ('build_adamw', ('beta_1', 'beta_2', 'epsilon', 'weight_decay')),
  'rmsprop': ('build_rmsprop', ('decay', 'epsilon')),
  'yogi': ('build_yogi', ('beta_1', 'beta_2', 'epsilon', 'initial_preconditioner_value')),
}


class OptimizerError(ValueError):
  """Text that names no optimizer; the message says what is allowed."""


def parse(text: str) -> tuple[str, dict[str, float]]:
  """Returns the name and the hyperparameters in `text`.

  Raises:
    OptimizerError: If the text does not name an optimizer and numbers for its hyperparameters; it says what is allowed.
  """
  name, _, settings = text.partition(':')
  if name not in OPTIMIZERS:
    raise OptimizerError(f'one of {", ".join(OPTIMIZERS)}')
  _, allowed = OPTIMIZERS[name]
  hparams = {}
  for setting in filter(None, settings.split(',')):
    key, _, value = setting.partition('=')
    if key not in allowed:
      raise OptimizerError(f'{name} or {name}:key=value,... with keys from {", ".join(allowed)}')
    try:
      hparams[key] = float(value)
      if not math.isfinite(hparams[key]):
        raise ValueError(value)
    except ValueError:
      raise OptimizerError(f'{name}:{key}= and a number') from None
  return name, hparams


def build(text: str, *, learning_rate: float) -> Any:
  """Returns the `tff.learning.optimizers.Optimizer` that `text` describes.

  Raises:
    OptimizerError: If TFF refuses a hyperparameter's value.
  """
  import tensorflow_federated as tff  # takes seconds; parsing must not

  name, hparams = parse(text)
  builder, _ = OPTIMIZERS[name]
  try:
    return getattr(tff.learning.optimizers, builder)(learning_rate=learning_rate, **hparams)
  except ValueError as error:
    raise OptimizerError(' '.join(str(error).split())) from None
