# SPDX-License-Identifier: Apache-2.0
"""What one run does: every value that a flag sets, checked once, frozen, and written beside the results.

Data set, partition, model, method and optimizers are choices: a name and its arguments. All else are plain values. A
value that nobody sets comes from what it belongs to: the learning rate from the data set, the policy for stragglers
from the method. A field is None where the run has no use for it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fedprox_tff.config import checks, choice, flags, names, optimizers, unused
from fedprox_tff.config.choice import Choice, choose
from fedprox_tff.config.flags import KINDS
from fedprox_tff.config.settings import CLIENT_STATES, CLIENTS_PER_ROUND, OF_RAY, SETTINGS, Settings, of_results
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.federation_names import read_federation

# What does not change a run's results, and so neither its name nor what may continue it.
PLACES = frozenset(
  {'data_dir', 'npz_file', 'fallback_dataset', 'rounds_per_checkpoint', 'results_dir', 'name', 'client_states', *OF_RAY}
)

# The values in the order of config.json.
_CHOSEN = ('dataset', 'partition', 'model', 'algorithm')
_OPTIMIZERS = ('client_optimizer', 'learning_rate', 'server_optimizer', 'server_learning_rate')
_FIELDS = (*_CHOSEN, *_OPTIMIZERS, *SETTINGS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
  """One run. Defaults are the paper's setting for MNIST with mu = 1 and no stragglers.

  Attributes:
    dataset: The federation's data; `build` makes its `DataSet`.
    partition: How its examples are split over clients. None: they come split.
    model: The classifier; `build` makes its `Architecture`.
    algorithm: The federated optimizer; `build` makes its `Algorithm`.
    client_optimizer: What applies a local step. None: the method finds its own step sizes.
    learning_rate: The client optimizer's, lr >= 0.
    server_optimizer: What descends the mean update. None: the method has a rule of its own.
    server_learning_rate: The server optimizer's; with sgd, 1 averages.
  """

  dataset: Choice
  partition: Choice | None
  model: Choice
  algorithm: Choice
  client_optimizer: Choice | None
  learning_rate: float | None
  server_optimizer: Choice | None
  server_learning_rate: float | None

  @classmethod
  def from_flags(cls, given: Mapping[str, Any]) -> 'Config':
    """Checks and completes the values that were set by hand; text is converted to the flag's type.

    Raises:
      UserError: If a value is not allowed, or the chosen data set, partition, model or method does not use it.
    """
    for key in given:
      if key not in flags.FLAGS:
        raise UserError(f'--{key} is not a flag; see --help.')
    if None not in (given.get('local_steps'), given.get('epochs')):
      raise UserError(f'--epochs={given["epochs"]}: --local_steps counts in their place; only one is possible.')
    federation, given = given.get(flags.FEDERATION.name), _with_federation(given)
    config = cls._read(given)
    if federation is not None and config.partition is None:
      raise UserError(f'--federation={federation}: dataset {config.dataset.name} comes split over clients.')
    for kind, chosen in config._choices().items():
      unused.refuse_unused(kind, chosen, config.dataset, given)
    checks.check(config)
    if not config.name:
      config = dataclasses.replace(config, name=names.default_name(config, PLACES, cls._read))
      checks.check_name(config.name)
    return config

  @classmethod
  def from_record(cls, record: Mapping[str, Any]) -> 'Config':
    """Returns the config that a config.json holds, nested as it is now, or flat as it was before version 0.2.

    Flags that came later have their defaults; values that the run does not use are passed over.

    Raises:
      ValueError: If it holds no config, or one of another version.
    """
    given = {}
    try:
      if not {'dataset', 'algorithm'} <= record.keys():
        raise UserError('it names no data set or no algorithm.')
      for key, value in record.items():
        if not isinstance(value, Mapping):
          given |= {} if value is None else {key: value}
          continue
        name, arguments = choice.from_record(value)
        if key in ('client_optimizer', 'server_optimizer'):
          name = ':'.join([name, ','.join(f'{k}={v}' for k, v in arguments.items())])
          arguments = {}
        given |= {key: name, **arguments}
      unknown = [key for key in given if key not in flags.FLAGS]
      if unknown:
        raise UserError(f'{unknown[0]} is no flag of this version.')
      return cls._read(given)
    except (UserError, AttributeError, KeyError, TypeError) as error:
      raise ValueError(f'no config of a run: {error}') from None

  def record(self) -> dict[str, Any]:
    """Returns what stands in config.json: a choice is its name and its arguments."""
    values = {key: getattr(self, key) for key in _FIELDS}
    return {key: value.record() if isinstance(value, Choice) else value for key, value in values.items()}

  def flat(self) -> dict[str, Any]:
    """Returns the value of each flag that the run uses, by the flag's name; a choice by its name.

    The order is that of the name of the run's folder.
    """
    flat = {'dataset': self.dataset.name, **self.dataset.flat()}
    if self.partition is not None:
      size = {key: flat.pop(key) for key in ['num_clients'] if key in flat}  # is said behind how they are made
      flat |= {'partition': self.partition.name, **size, **self.partition.flat()}
    flat |= {'model': self.model.name, **self.model.flat(), 'algorithm': self.algorithm.name}
    if self.client_optimizer is not None:
      flat |= {'client_optimizer': optimizers.as_text(self.client_optimizer), 'learning_rate': self.learning_rate}
    own = self.algorithm.flat()
    if self.server_optimizer is not None:
      flat['server_optimizer'] = optimizers.as_text(self.server_optimizer)
      flat['server_learning_rate'] = self.server_learning_rate
    elif 'server_learning_rate' in own:  # stands in the same place where it belongs to the method
      flat['server_learning_rate'] = own.pop('server_learning_rate')
    flat |= own
    settings = {key: getattr(self, key) for key in SETTINGS}
    return flat | {key: value for key, value in settings.items() if value is not None}

  def differences(self, other: Mapping[str, Any]) -> list[str]:
    """Returns the names of the values that make this run another one than `other`, the config of a config.json.

    The number of rounds is not among them: a longer run continues a shorter one.

    Raises:
      ValueError: If `other` holds no config.
    """
    mine, theirs = of_results(self.flat()), of_results(Config.from_record(other).flat())
    silent = PLACES | {'rounds'}
    return [key for key in {**mine, **theirs} if key not in silent and mine.get(key) != theirs.get(key)]

  @classmethod
  def _read(cls, given: Mapping[str, Any]) -> 'Config':
    """Returns the config that flags describe, without looking at flags that it does not use."""
    chosen = {kind: _choose(kind, given) for kind in ('dataset', 'algorithm')}
    source, algorithm = chosen['dataset'].build(), chosen['algorithm'].build()
    chosen['model'] = _choose('model', {'model': source.model, **given})
    chosen['partition'] = None
    if source.partition is not None:
      chosen['partition'] = _choose('partition', {'partition': source.partition, **given})
    chosen['client_optimizer'] = chosen['server_optimizer'] = None
    values = {'learning_rate': None, 'server_learning_rate': None}
    if not algorithm.needs.own_step_size:
      chosen['client_optimizer'] = optimizers.parse('client_optimizer', given.get('client_optimizer', 'sgd'))
      values['learning_rate'] = _value('learning_rate', given, source.learning_rate)
    if algorithm.server.update is None:
      chosen['server_optimizer'] = optimizers.parse('server_optimizer', given.get('server_optimizer', 'sgd'))
      values['server_learning_rate'] = _value('server_learning_rate', given, 1.0)
    defaults = {
      'clients_per_round': source.num_clients if algorithm.needs.all_clients else _cohort(source.num_clients),
      'weighting': algorithm.policy.weighting,
      'straggler_policy': algorithm.policy.stragglers,
      'client_states': None if algorithm.client.init is None else CLIENT_STATES[0],
    }
    if given.get('runtime') == 'ray':
      defaults |= OF_RAY
    settings = {key: _value(key, given, defaults.get(key, p.default)) for key, p in SETTINGS.items()}
    if settings['local_steps'] is not None:
      settings['epochs'] = None
    return cls(**chosen, **values, **settings)

  def _choices(self) -> dict[str, Choice | None]:
    return {kind: getattr(self, kind) for kind in KINDS}


def _with_federation(given: Mapping[str, Any]) -> Mapping[str, Any]:
  """Returns the flags with those that --federation stands for in its place.

  Raises:
    UserError: If it is no name of a federation, or one of those flags says something else.
  """
  if given.get(flags.FEDERATION.name) is None:
    return given
  text = flags.FEDERATION.parse(given[flags.FEDERATION.name])
  federation = read_federation(text)
  meant = {'partition': 'dirichlet', 'dirichlet_alpha': federation.alpha, 'num_clients': federation.num_clients}
  for key, value in meant.items():
    if given.get(key) is not None and flags.FLAGS[key].parse(given[key]) != value:
      raise UserError(f'--{key}={given[key]}: --federation={text} means --{key}={value}.')
  return {key: value for key, value in given.items() if key != flags.FEDERATION.name} | meant


def _cohort(num_clients: int | None) -> int:
  """Returns the size of a cohort if nobody sets it: the paper's, or all clients of a smaller federation."""
  return CLIENTS_PER_ROUND if num_clients is None else min(CLIENTS_PER_ROUND, num_clients)


def _choose(kind: str, given: Mapping[str, Any]) -> Choice:
  name = _value(kind, given, flags.FLAGS[kind].parameter.default)
  return choose(KINDS[kind][name], name, given)


def _value(key: str, given: Mapping[str, Any], default: Any) -> Any:
  return default if given.get(key) is None else flags.FLAGS[key].parameter.parse(given[key])
