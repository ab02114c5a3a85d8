# SPDX-License-Identifier: Apache-2.0
"""What one run does: every value that a flag sets, checked once, frozen, and written beside the results.

A field is a flag. A field with default None takes its value from what it belongs to: the data set's learning rate,
the loader's own number of clients, the algorithm's policy for stragglers.
"""

import dataclasses
import inspect
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.algorithms.adaptive_mu import ADAPTIVE
from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.config.signatures import own_flags
from fedprox_tff.config.values import flag, parse
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets import DATASETS
from fedprox_tff.datasets.partitions import PARTITIONS
from fedprox_tff.models import MODELS
from fedprox_tff.training import client_states, cohort

# The paper's learning rates (Li et al., appendix C.2); for sets that it does not have, its smallest convex one.
_LEARNING_RATES = {'mnist': 0.03, 'digits': 0.03, 'synthetic': 0.01, 'leaf': 0.01}

# What a run chooses by name. The keyword parameters of the chosen functions are the flags that the run uses.
_TABLES = {'dataset': DATASETS, 'partition': PARTITIONS, 'algorithm': ALGORITHMS}
# What an algorithm uses beside its own, unless its rule replaces them; the learning rate's default is the data set's.
_CLIENT = {'client_optimizer': 'sgd', 'learning_rate': None}
_SERVER = {'server_optimizer': 'sgd', 'server_learning_rate': 1.0}
_OPTIMIZERS = _CLIENT | _SERVER
_INSTEAD = dict.fromkeys(_CLIENT, 'finds its own step sizes') | dict.fromkeys(
  _SERVER, "is a rule for the server's step"
)
# What follows the algorithm's paper if it is not set.
_PAPERS = ('straggler_policy', 'weighting')
_CLIENTS_PER_ROUND = 10  # the paper's
# What does not change a run's results, and so neither its name nor what may continue it.
_PLACES = {'data_dir', 'fallback_dataset', 'rounds_per_checkpoint', 'results_dir', 'name', 'client_states'}


@dataclasses.dataclass(frozen=True)
class Config:
  """One run. Defaults are the paper's setting for MNIST with mu = 1 and no stragglers."""

  # fmt: off
  dataset: str = flag('mnist', 'Data', 'the federation', choices=DATASETS)
  data_dir: str = flag(None, 'Data', 'where the files are (else $FEDPROX_DATA_DIR, the cache, a download)')
  data_seed: int = flag(0, 'Data', 'fixes the split over clients', low=0)
  partition: str = flag(None, 'Data', 'how images are split over clients', choices=PARTITIONS)
  num_clients: int = flag(None, 'Data', 'clients in the federation', low=1)
  dirichlet_alpha: float = flag(None, 'Data', 'concentration of partition dirichlet', low=1e-6)
  synthetic_alpha: float = flag(None, 'Data', "how much clients' models differ: alpha of Synthetic(alpha, beta)", low=0)
  synthetic_beta: float = flag(None, 'Data', "how much clients' data differ: beta of Synthetic(alpha, beta)", low=0)
  synthetic_iid: bool = flag(None, 'Data', 'the IID variant of the synthetic set')
  fallback_dataset: str = flag('', 'Data', 'train on this when the data set cannot be had', choices=('', 'digits'))

  model: str = flag('logistic', 'Model and algorithm', 'the classifier', choices=MODELS)
  algorithm: str = flag('fedprox', 'Model and algorithm', 'the federated optimizer', choices=ALGORITHMS)
  client_optimizer: str = flag(None, 'Model and algorithm', 'local steps: NAME or NAME:key=value,...')
  learning_rate: float = flag(None, 'Model and algorithm', "the client optimizer's", low=0)
  server_optimizer: str = flag(None, 'Model and algorithm', "server's step: NAME or NAME:key=value,...")
  server_learning_rate: float = flag(None, 'Model and algorithm', "of the server's step; 1 with sgd averages", low=0)

  mu: float = flag(None, "Methods' own", 'strength of the proximal term', low=0, word=ADAPTIVE)
  initial_mu: float = flag(None, "Methods' own", 'the first value of an adaptive mu', low=0)
  for _name, _type, _field in own_flags(ALGORITHMS, "Methods' own", known=vars()):
    __annotations__[_name], vars()[_name] = _type, _field
  del _name, _type, _field

  rounds: int = flag(100, 'Rounds and clients', 'rounds of communication', low=0)
  clients_per_round: int = flag(None, 'Rounds and clients', 'K, the size of a cohort', low=1)
  sampling: str = flag('uniform', 'Rounds and clients', 'how a cohort is drawn', choices=cohort.SAMPLING)
  weighting: str = flag(None, 'Rounds and clients', "clients' masses in the mean", choices=cohort.WEIGHTING)
  epochs: int = flag(20, 'Rounds and clients', 'E, the local epochs of a client that is on time', low=1)
  batch_size: int = flag(10, 'Rounds and clients', 'B, examples in a local step', low=1)
  stragglers: float = flag(0.0, 'Rounds and clients', 'share of a cohort that cannot do E epochs', low=0, high=1)
  straggler_policy: str = flag(
    None, 'Rounds and clients', 'keep or drop their work', choices=cohort.STRAGGLER_POLICIES)
  seed: int = flag(0, 'Rounds and clients', 'fixes initial weights, cohorts, stragglers, budgets, batches', low=0)

  runtime: str = flag('in_process', 'Machine', "TensorFlow here, or TFF's C++ worker", choices=('in_process', 'worker'))
  device: str = flag('cpu', 'Machine', 'where clients work', choices=('cpu', 'gpu'))
  client_states: str = flag(None, 'Machine', "where clients' states are between rounds", choices=client_states.PLACES)

  rounds_per_evaluation: int = flag(1, 'Results', 'evaluate every so many rounds, and in the last', low=1)
  rounds_per_dissimilarity: int = flag(0, 'Results', "measure local gradients every so many rounds; 0: never", low=0)
  measure_gamma: bool = flag(False, 'Results', "measure the inexactness of clients' solutions")
  rounds_per_checkpoint: int = flag(20, 'Results', 'save every so many rounds, and in the last', low=1)
  results_dir: str = flag('results', 'Results', 'where runs are kept')
  name: str = flag(None, 'Results', "the run's folder in there; made of what differs from the defaults")
  # fmt: on

  @classmethod
  def from_flags(cls, values: Mapping[str, Any]) -> 'Config':
    """Checks and completes the values that were set by hand; text is converted to the field's type.

    Raises:
      UserError: If a value is not allowed, or the chosen data set, partition or algorithm does not use it.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
      if key not in fields:
        raise UserError(f'--{key} is not a flag; see --help.')
    config = cls(**{key: parse(fields[key], value) for key, value in values.items()})
    config._check_used(values)
    config = config._completed()
    config._check_together()
    return config if config.name else dataclasses.replace(config, name=config._default_name())

  @staticmethod
  def defaults_of(flag_name: str) -> dict[str, Any]:
    """Returns the defaults of a flag by the data set, partition or algorithm that brings them."""
    if flag_name == 'learning_rate':
      return _LEARNING_RATES
    if flag_name == 'clients_per_round':
      return {
        name: 'all' if algorithm().full_participation else _CLIENTS_PER_ROUND for name, algorithm in ALGORITHMS.items()
      }
    if flag_name == 'client_states':
      return {name: client_states.PLACES[0] for name, algorithm in ALGORITHMS.items() if algorithm().start_client}
    if flag_name in _PAPERS:
      return {name: getattr(algorithm(), flag_name) for name, algorithm in ALGORITHMS.items()}
    entries = [(kind, name) for kind, table in _TABLES.items() for name in table]
    defaults = {name: _flags(kind, name).get(flag_name) for kind, name in entries}
    return {name: default for name, default in defaults.items() if default is not None}

  def arguments_of(self, factory: Callable[..., Any]) -> dict[str, Any]:
    """Returns this run's values for the keyword parameters of a loader, an algorithm or a model."""
    defaults = parameters(factory)
    values = {name: getattr(self, name) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in values.items()}

  def build_algorithm(self) -> Algorithm:
    """Returns the algorithm with this run's values for its parameters."""
    factory = ALGORITHMS[self.algorithm]
    return factory(**self.arguments_of(factory))

  def as_dict(self) -> dict[str, Any]:
    """Returns every value, None where the run does not use it."""
    return dataclasses.asdict(self)

  def differences(self, other: Mapping[str, Any]) -> list[str]:
    """Returns the names of the values that make this run another one than `other`, an earlier `as_dict`.

    The number of rounds is not among them: a longer run continues a shorter one.
    """
    mine = self.as_dict()
    theirs = {field.name: field.default for field in dataclasses.fields(self)} | other  # flags that came later
    return [key for key in mine if key not in _PLACES | {'rounds'} and mine[key] != theirs[key]]

  def _chosen(self) -> dict[str, str]:
    """Returns the name of each table's chosen entry."""
    chosen = {'dataset': self.dataset, 'algorithm': self.algorithm}
    loader = parameters(DATASETS[self.dataset])
    if 'partition' in loader:
      chosen['partition'] = self.partition or loader['partition']
    return chosen

  def _check_used(self, given: Mapping[str, Any]) -> None:
    """Refuses a flag that belongs to another data set, partition or algorithm than the chosen ones."""
    for kind, name in self._chosen().items():
      used, optimizers = _flags(kind, name), _OPTIMIZERS.keys() if kind == 'algorithm' else set()
      owned = {key for entry in _TABLES[kind] for key in _flags(kind, entry)}
      for key in given:
        if key in owned and key not in used:
          users = [user for user in _TABLES[kind] if key in _flags(kind, user)]
          others = f'{", ".join(users)} {"does" if len(users) == 1 else "do"}'
          listed = ', '.join(f'--{flag}' for flag in sorted(used.keys() - optimizers)) or 'no flag of its own'
          why = f', which {_INSTEAD[key]},' if key in _INSTEAD else ''
          raise UserError(f'--{key}={given[key]}: {kind} {name}{why} does not use it ({others}); it uses {listed}.')

  def _completed(self) -> 'Config':
    """Fills in the defaults of the chosen data set, partition and algorithm."""
    chosen = self._chosen()
    partitions = {key for factory in PARTITIONS.values() for key in parameters(factory)}
    defaults = {key: value for key, value in parameters(DATASETS[self.dataset]).items() if key not in partitions}
    if 'partition' in chosen:
      defaults |= parameters(PARTITIONS[chosen['partition']])
    defaults |= _flags('algorithm', self.algorithm)
    algorithm = self.build_algorithm()
    defaults |= {key: getattr(algorithm, key) for key in _PAPERS}
    defaults['clients_per_round'] = (
      (self.num_clients or defaults.get('num_clients')) if algorithm.full_participation else _CLIENTS_PER_ROUND
    )
    if algorithm.start_client is not None:
      defaults['client_states'] = client_states.PLACES[0]
    if 'learning_rate' in defaults:
      defaults['learning_rate'] = _LEARNING_RATES[self.dataset]
    if self.mu != ADAPTIVE:
      defaults.pop('initial_mu', None)
    if self.algorithm != 'scaffold' and self.backbone != 'scaffold':
      defaults.pop('scaffold_option', None)
    return dataclasses.replace(self, **{key: v for key, v in defaults.items() if getattr(self, key) is None})

  def _check_together(self) -> None:
    if self.num_clients is not None and self.clients_per_round > self.num_clients:
      raise UserError(
        f'--clients_per_round={self.clients_per_round}: at most the {self.num_clients} clients of the federation.'
      )
    if self.mu == ADAPTIVE and 'initial_mu' not in parameters(ALGORITHMS[self.algorithm]):
      raise UserError(f'--mu={ADAPTIVE}: {self.algorithm} needs a number.')
    if self.mu == ADAPTIVE and self.rounds_per_evaluation > 1:
      raise UserError('--mu=adaptive compares the training loss of each round: --rounds_per_evaluation=1 is needed.')
    if self.mu != ADAPTIVE and self.initial_mu is not None:
      raise UserError(f'--initial_mu={self.initial_mu}: only --mu=adaptive uses it.')
    if self.dataset == 'leaf' and not self.data_dir:
      raise UserError('--dataset=leaf needs --data_dir, a folder that holds train/*.json and test/*.json.')
    if self.name in ('.', '..') or (self.name and pathlib.Path(self.name).name != self.name):
      raise UserError(f'--name={self.name}: the name of one folder is needed; --results_dir says where it lies.')
    self._check_algorithm(self.build_algorithm())

  def _check_algorithm(self, algorithm: Algorithm) -> None:
    """Checks what the algorithm's rule needs of the rest of the run."""
    if algorithm.plain_sgd and self.client_optimizer != 'sgd':
      raise UserError(
        f'--client_optimizer={self.client_optimizer}: {self.algorithm} takes w^t - w_k apart into the gradients it is '
        'the sum of, which only sgd without momentum allows.'
      )
    if self.backbone == 'scaffold' and self.mu:
      raise UserError(f'--mu={self.mu}: --backbone=scaffold has no proximal term; --backbone=fedprox has.')
    if self.backbone == 'fedprox' and self.scaffold_option is not None:
      raise UserError(f'--scaffold_option={self.scaffold_option}: only --backbone=scaffold uses it.')
    if self.client_states is not None and algorithm.start_client is None:
      raise UserError(f'--client_states={self.client_states}: clients of {self.algorithm} keep no state.')
    if 'num_clients' in algorithm.server_hparams and self.sampling != 'uniform':
      raise UserError(
        f"--sampling={self.sampling}: {algorithm.name}'s server counts each client once; --sampling=uniform draws none "
        'twice.'
      )
    if algorithm.full_participation:
      self._check_full_participation()

  def _check_full_participation(self) -> None:
    needs = f'{self.algorithm} needs all clients in every round'
    if self.clients_per_round is None:
      raise UserError(f'--clients_per_round: {needs}, and their number is needed.')
    if self.num_clients is not None and self.clients_per_round != self.num_clients:
      raise UserError(f'--clients_per_round={self.clients_per_round}: {needs}, {self.num_clients}.')
    if self.sampling != 'uniform':
      raise UserError(f'--sampling={self.sampling}: {needs}, once; --sampling=uniform draws them so.')
    if self.stragglers and self.straggler_policy == 'drop':
      raise UserError(f'--straggler_policy=drop: {needs}; partial keeps stragglers.')
    if self.weighting != 'uniform':
      raise UserError(f'--weighting={self.weighting}: {self.algorithm} is defined for the plain mean, uniform.')

  def _default_name(self) -> str:
    """Names the run after what differs from the defaults, so that another config has another folder."""
    plain = Config(dataset=self.dataset, algorithm=self.algorithm)._completed().as_dict()
    # What other defaults follow from these is not named beside them.
    chosen = {'backbone': self.backbone, 'num_clients': self.num_clients}
    baseline = Config(dataset=self.dataset, algorithm=self.algorithm, **chosen)._completed().as_dict()
    baseline |= {key: plain[key] for key in chosen}
    parts = [self.algorithm, self.dataset]
    if self.dataset == 'leaf':
      parts.append(pathlib.Path(self.data_dir).resolve().name)
    silent = _PLACES | {'rounds'}  # a longer run continues a shorter one
    parts += [f'{key}={v}' for key, v in self.as_dict().items() if key not in silent and v != baseline[key]]
    return '-'.join(parts)


def parameters(factory: Callable[..., Any]) -> dict[str, Any]:
  """Returns the keyword-only parameters of a factory and their defaults (None where it has none)."""
  parameters = inspect.signature(factory).parameters.values()
  return {p.name: None if p.default is p.empty else p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _flags(kind: str, name: str) -> dict[str, Any]:
  """Returns the flags that an entry of a table uses, and their defaults."""
  flags = parameters(_TABLES[kind][name])
  if kind == 'algorithm':
    algorithm = ALGORITHMS[name]()
    flags = ({} if algorithm.own_step_size else _CLIENT) | ({} if algorithm.update_server else _SERVER) | flags
  return flags
