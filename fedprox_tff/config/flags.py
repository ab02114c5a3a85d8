# SPDX-License-Identifier: Apache-2.0
"""All flags of a run: its plain settings, its choices, and the parameters of whatever can be chosen.

Two choices of one kind may have a parameter of the same name, such as mu: a run chooses one of them. Any other two
flags of one name are a mistake of the programmer, which importing this module finds.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fedprox_tff.algorithms import ALGORITHMS, ALIASES
from fedprox_tff.algorithms.base import ServerRule
from fedprox_tff.config import optimizers
from fedprox_tff.config.choice import default_of, flags_of
from fedprox_tff.config.settings import CLIENT_STATES, CLIENTS_PER_ROUND, DATA, GROUPS, METHOD, SETTINGS
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.choices import Factory
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets import DATASETS, PARTITIONS
from fedprox_tff.models import MODELS

OWN = "Methods' own"

# What a run chooses by name, with parameters that are flags.
KINDS: Mapping[str, Mapping[str, Factory]] = {
  'dataset': DATASETS,
  'partition': PARTITIONS,
  'model': MODELS,
  'algorithm': ALGORITHMS,
}
_KIND_FLAGS = {
  'dataset': (DATA, Parameter('dataset', str, 'mnist', 'the data set', table=DATASETS)),
  'partition': (DATA, Parameter('partition', str, None, 'how examples are split over clients', table=PARTITIONS)),
  'model': (METHOD, Parameter('model', str, 'logistic', 'the classifier', table=MODELS, words=('FILE.py:function',))),
  'algorithm': (
    METHOD,
    Parameter('algorithm', str, 'fedprox', 'the federated optimizer', table=ALGORITHMS, aliases=ALIASES),
  ),
}
# Stands for other flags, and is itself no value of a run.
FEDERATION = Parameter(
  'federation', str, None, "a split by FederatedX's name for it: A0d01C100 is Dirichlet(0.01) over 100 clients"
)
# What a method uses beside its parameters, unless it has step sizes or a server's step of its own.
CLIENT_OPTIMIZER = {
  'client_optimizer': Parameter(
    'client_optimizer', str, 'sgd', 'optimizer of the local steps, NAME or NAME:key=value,...'
  ),
  'learning_rate': Parameter('learning_rate', float, None, 'learning rate of the client optimizer', low=0),
}
SERVER_OPTIMIZER = {
  'server_optimizer': Parameter(
    'server_optimizer', str, 'sgd', "optimizer of the server's step, NAME or NAME:key=value,..."
  ),
  'server_learning_rate': Parameter(
    'server_learning_rate', float, 1.0, "learning rate of the server's step; with sgd, 1 averages", low=0
  ),
}


# Flags of `fedprox_tff.sweep` alone, and of absl.
_OF_SWEEPS = {'jobs', 'engine', 'gpus_per_job', 'dry_run', 'index', 'count'}
_RESERVED = {*_OF_SWEEPS, 'help', 'helpfull', 'helpshort', 'helpxml', 'flagfile', 'undefok'}


class Flag(NamedTuple):
  """A flag of a run."""

  group: str  # the heading in --help
  parameter: Parameter  # of a parameter that several choices have, the first one's
  owners: tuple[tuple[str, Parameter], ...] = ()  # the choices that have it, each with its own parameter; () if all do

  def parse(self, value: Any) -> Any:
    """Returns a value in the flag's type, if any of its owners allows it.

    Raises:
      UserError: If none does.
    """
    if self.parameter.name in ('client_optimizer', 'server_optimizer'):
      return optimizers.as_text(optimizers.parse(self.parameter.name, value))
    errors = []
    for parameter in [parameter for _, parameter in self.owners] or [self.parameter]:
      try:
        return parameter.parse(value)
      except UserError as error:
        errors.append(error)
    raise errors[0]


def _all_flags() -> dict[str, Flag]:
  """Returns all flags by their names, in the order of --help.

  Raises:
    TypeError: If two flags clash.
  """
  owned: dict[str, dict[str, list[tuple[str, Parameter]]]] = {}
  for kind, table in KINDS.items():
    for name, factory in table.items():
      for parameter in flags_of(factory):
        owned.setdefault(kind, {}).setdefault(parameter.name, []).append((name, parameter))
  made: dict[str, Flag] = {}

  def add(flag: Flag) -> None:
    name, owners = flag.parameter.name, dict(flag.owners)
    if name in _RESERVED:
      raise TypeError(f'{", ".join(owners)}: the parameter {name} clashes with a flag of the command lines.')
    if name in made and not (name in SERVER_OPTIMIZER and all(_has_own_server_step(owner) for owner in owners)):
      raise TypeError(f'{", ".join(owners)}: the parameter {name} clashes with another flag of this name.')
    if len({parameter.kind is bool for parameter in owners.values()}) > 1:
      raise TypeError(f'{", ".join(owners)}: the parameter {name} is a switch of one and a value of another.')
    made.setdefault(name, flag)

  for kind, (group, chooser) in _KIND_FLAGS.items():
    add(Flag(group, chooser))
    if kind != 'algorithm':
      for owners in owned.get(kind, {}).values():
        add(Flag(group, owners[0][1], tuple(owners)))
    if kind == 'partition':
      add(Flag(DATA, FEDERATION))
      add(Flag(DATA, SETTINGS['fallback_dataset']))
  for parameter in (CLIENT_OPTIMIZER | SERVER_OPTIMIZER).values():
    add(Flag(METHOD, parameter))
  for name, parameter in SETTINGS.items():
    if name not in made:
      add(Flag(GROUPS[name], parameter))
  for owners in owned['algorithm'].values():
    add(Flag(OWN, owners[0][1], tuple(owners)))
  order = list(dict.fromkeys([DATA, METHOD, OWN, *GROUPS.values()]))
  return dict(sorted(made.items(), key=lambda item: order.index(item[1].group)))  # stable


def _has_own_server_step(method: str) -> bool:
  return ALGORITHMS[method]().server.update is not None


FLAGS: Mapping[str, Flag] = _all_flags()


def defaults_of(key: str) -> dict[str, Any]:
  """Returns the defaults of a flag by the name of what brings them; a lone default is under the empty string."""
  flag = FLAGS[key]
  if key in _BROUGHT:
    table, bring = _BROUGHT[key]
    return {name: value for name, factory in table.items() if (value := bring(factory())) is not None}
  if not flag.owners:
    return {'': flag.parameter.default}
  return {name: default_of(p) for name, p in flag.owners if default_of(p) is not None}


def _server_learning_rate(server: ServerRule) -> float | None:
  return 1.0 if server.update is None else server.hparams.get('learning_rate')


# Defaults that a run takes from what it chooses: the table, and from its record to the default.
_BROUGHT: Mapping[str, tuple[Mapping[str, Factory], Callable[[Any], Any]]] = {
  'learning_rate': (DATASETS, lambda source: source.learning_rate),
  'partition': (DATASETS, lambda source: source.partition),
  'model': (DATASETS, lambda source: source.model),
  'clients_per_round': (ALGORITHMS, lambda method: 'all' if method.needs.all_clients else CLIENTS_PER_ROUND),
  'weighting': (ALGORITHMS, lambda method: method.policy.weighting),
  'straggler_policy': (ALGORITHMS, lambda method: method.policy.stragglers),
  'server_learning_rate': (ALGORITHMS, lambda method: _server_learning_rate(method.server)),
  'client_states': (ALGORITHMS, lambda method: None if method.client.init is None else CLIENT_STATES[0]),
}
