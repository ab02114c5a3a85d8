# SPDX-License-Identifier: Apache-2.0
"""The plain values of a run: all that is not chosen by name with parameters of its own."""

import dataclasses
from typing import Any, Literal

from fedprox_tff.config.values import Parameter
from fedprox_tff.core.batches import ALL

DATA, METHOD, ROUNDS, MACHINE, RESULTS = (
  'Data',
  'Model and method',
  'Rounds and clients',
  'Machine',
  'Results',
)

SAMPLING = ('uniform', 'proportional')
WEIGHTING = ('examples', 'uniform')
STRAGGLER_POLICIES = ('partial', 'drop')
CLIENT_STATES = ('memory', 'disk')
# Values that lead to the bits of another one: on a cluster, a run is the one that it is in one process.
SAME_RESULTS = {'runtime': {'ray': 'in_process'}}
# What a run has of a cluster, and has not without one.
OF_RAY = {'ray_address': 'auto', 'workers': None, 'gpus_per_worker': None, 'wait_for_workers': 600.0}
CLIENTS_PER_ROUND = 10  # the paper's


def _setting(kind: type, group: str, text: str, default: Any = None, **limits: Any) -> Any:
  """Returns a dataclass field that is a flag; the default is None where it comes from what the run chooses."""
  parameter = Parameter('', kind, default, text, **limits)
  return dataclasses.field(metadata={'group': group, 'parameter': parameter})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """The plain values of a run; the text of each is its help."""

  # fmt: off
  fallback_dataset: str = _setting(
    str, DATA, 'data set to train on when the chosen one cannot be had', '', choices=('', 'digits'))

  rounds: int = _setting(int, ROUNDS, 'rounds of communication', 100, low=0)
  clients_per_round: int = _setting(int, ROUNDS, 'K, the number of clients in a cohort', low=1)
  sampling: Literal['uniform', 'proportional'] = _setting(
    str, ROUNDS, 'how a cohort is drawn: uniformly without replacement, or by p_k = n_k / n with replacement',
    'uniform', choices=SAMPLING)
  weighting: Literal['examples', 'uniform'] = _setting(
    str, ROUNDS, 'how clients are weighted when averaging', choices=WEIGHTING)
  epochs: int | None = _setting(int, ROUNDS, 'E, the local epochs of a client that is on time', 20, low=1)
  local_steps: int | None = _setting(
    int, ROUNDS, 'local steps of a client that is on time, in the place of epochs', low=1)
  batch_size: int | Literal['all'] = _setting(
    int, ROUNDS, 'B, the number of examples in a local step; all: one step an epoch, over all that the client has',
    10, low=1, words=(ALL,))
  learning_rate_decay: float = _setting(
    float, ROUNDS, 'what the learning rate of the client optimizer is multiplied by after each round', 1.0,
    low=1e-6, high=1)
  clip_norm: float | None = _setting(
    float, ROUNDS, "the norm that the gradient of each batch is cut down to; without it, none is", low=1e-6)
  l2: float = _setting(
    float, ROUNDS, 'weight decay of any method: what times w is added to the gradient of each batch at w, behind the '
    "cut of --clip_norm; FedNAR's own decay, which is cut too, is --weight_decay", 0.0, low=0)
  stragglers: float = _setting(
    float, ROUNDS, 'share of a cohort that cannot do E epochs', 0.0, low=0, high=1)
  straggler_policy: Literal['partial', 'drop'] = _setting(
    str, ROUNDS, "whether to keep or drop the stragglers' work", choices=STRAGGLER_POLICIES)
  seed: int = _setting(
    int, ROUNDS, 'seed of the initial weights, cohorts, stragglers, budgets, and all that local steps draw', 0, low=0)

  runtime: Literal['in_process', 'ray', 'worker'] = _setting(
    str, MACHINE, "where TFF computations run: TensorFlow in this process, a Ray cluster, or TFF's C++ worker",
    'in_process', choices=('in_process', 'ray', 'worker'))
  device: Literal['cpu', 'gpu'] = _setting(str, MACHINE, 'where clients compute', 'cpu', choices=('cpu', 'gpu'))
  client_states: Literal['memory', 'disk'] | None = _setting(
    str, MACHINE, "where clients' states are kept between rounds", choices=CLIENT_STATES)
  ray_address: str | None = _setting(
    str, MACHINE, 'with --runtime=ray: the cluster; auto, the default: the one that this machine is a node of; '
    'local: one for this command alone; or HOST:PORT')
  workers: int | None = _setting(
    int, MACHINE, 'with --runtime=ray: how many workers train clients, one core each; without it, as many as there is '
    'room for and clients in a cohort', low=1)
  gpus_per_worker: float | None = _setting(
    float, MACHINE, 'with --runtime=ray and --device=gpu: the GPUs, or the share of one, that a worker has; by '
    'default 1', low=0.01)
  wait_for_workers: float | None = _setting(
    float, MACHINE, 'with --runtime=ray: seconds to wait for a worker when all have died; by default 600', low=0)

  rounds_per_evaluation: int = _setting(
    int, RESULTS, 'evaluate every so many rounds, and in the last one', 1, low=1)
  evaluation_examples: int | None = _setting(
    int, RESULTS, 'evaluate on so many training and test examples of all, the same in every round and run', low=1)
  rounds_per_dissimilarity: int = _setting(
    int, RESULTS, "measure how much the clients' gradients differ every so many rounds; 0 means never", 0, low=0)
  measure_gamma: bool = _setting(bool, RESULTS, "measure the inexactness of the clients' solutions", False)
  rounds_per_checkpoint: int = _setting(int, RESULTS, 'save every so many rounds, and in the last one', 20, low=1)
  results_dir: str = _setting(str, RESULTS, 'folder that holds all runs', 'results')
  name: str = _setting(str, RESULTS, "name of the run's folder; by default, what differs from the defaults")
  # fmt: on


SETTINGS: dict[str, Parameter] = {
  field.name: field.metadata['parameter']._replace(name=field.name) for field in dataclasses.fields(Settings)
}
GROUPS: dict[str, str] = {field.name: field.metadata['group'] for field in dataclasses.fields(Settings)}


def of_results(flat: dict[str, Any]) -> dict[str, Any]:
  """Returns values by flag, with those in the place of others that lead to the same results."""
  return {key: SAME_RESULTS.get(key, {}).get(value, value) for key, value in flat.items()}
