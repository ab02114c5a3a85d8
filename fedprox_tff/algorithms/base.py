# SPDX-License-Identifier: Apache-2.0
"""What a federated algorithm is: a record of pure functions over weights.

One round is the same for all (FedAvg; McMahan et al., AISTATS 2017, arXiv:1602.05629): clients start at the server's
weights w^t, take local steps along a direction within their budgets, and the server descends the weighted mean of
w^t - w_k. Cohorts, stragglers, budgets, batches and metrics never depend on the algorithm; a file beside this one says
only where its method differs:

    client   start_client, once; then in each round start -> (step, or its direction alone) -> ... -> finish
    server   start_server, once; then in each round update_server or the server optimizer, and update_message
    both     evaluated, personal: the weights that are evaluated

Hyperparameters are values in the process's state, on the clients' side (with the client optimizer's, such as its
learning rate) and on the server's.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


class Local(NamedTuple):
  """Where a client stands: before a local step, or after its last one."""

  weights: Weights  # w: the local iterate
  anchor: Weights  # w^t: the weights received from the server, frozen for the round
  message: Weights = ()  # what the server sent beside them
  state: Any = ()  # what the client has kept since its last round: a tuple of float tensors, or of tuples of them
  constants: Any = ()  # tensors that `start` works out for the whole round
  example_weights: Any = None  # [n_k, M], from `start`: what the losses of the M models count in each example
  scratch: Any = ()  # tensors that the method carries from step to step
  num_steps: Any = 0  # local steps taken so far
  normalisation: tuple[bool, ...] = ()  # for each weight whether it is a normalisation layer's
  gradient_of: Callable[[Weights], Weights] | None = None  # the gradient elsewhere, on the same batch
  move_statistics: Callable[[Weights, Weights], Weights] | None = None  # see `step`
  full_gradient_of: Callable[[Weights], Weights] | None = None  # on all examples; in `start` and `finish`
  losses_of: Callable[[Weights], Any] | None = None  # [n_k, M], of each example in each model; in `start` and `finish`


class Report(NamedTuple):
  """What comes of a client's round. The server gets the mean or the sum of it over the clients that contribute."""

  update: Weights  # w^t - w_k, TFF's sign; averaged by the clients' weights
  extra: Any = ()  # other tensors that are averaged so
  sums: Any = ()  # tensors that are added up, whatever the weights
  state: Any = ()  # what the client keeps to itself until its next round


class Server(NamedTuple):
  """Where the server stands between rounds."""

  weights: Weights  # w^t
  message: Weights = ()  # what it sends beside them
  kept: Any = ()  # what it keeps to itself, such as momentum


Share = Annotated[float, (0, 1)]  # of a factory's parameter: a number from 0 to 1; a plain float is at least 0
Hparams = Mapping[str, Any]
Direction = Callable[[Weights, Local, Hparams], Weights]


def gradient_direction(gradient: Weights, local: Local, hparams: Hparams) -> Weights:
  """FedAvg's direction: the gradient of the batch, as it is."""
  del local, hparams
  return gradient


def start_at_anchor(local: Local, hparams: Hparams) -> Local:
  """FedAvg's start: the server's weights, and nothing to carry along."""
  del hparams
  return local


def report_displacement(local: Local, hparams: Hparams) -> Report:
  """FedAvg's report: w^t - w_k alone."""
  del hparams
  return Report(tree.sub(local.anchor, local.weights))


class Algorithm(NamedTuple):
  """A federated algorithm, as what it changes in FedAvg.

  Attributes:
    name: The name on the command line.
    hparams: Initial values of the hyperparameters that live in the process's state: `set_hparams` changes them between
      rounds without building anything anew. The clients' functions get them together with the client optimizer's.
    start: `(local, hparams)` to where a client begins: other weights than w^t, constants, or scratch.
    direction: `(gradient, local, hparams)` to what one local step descends. The client optimizer applies it.
    step: `(gradient, local, hparams)` to what one local step descends, and the scratch of the next one. None: the
      direction, and no scratch. A step that moves a model of its own from `before` to `after` by the gradient of the
      batch keeps `local.move_statistics(before, after)`: running statistics of normalisation follow the batches.
    finish: `(local, hparams)` to the client's report, after its last step.
    start_client: What a client keeps, `Local.state`, before it first takes part, from a `Local` at w^0. None: clients
      keep nothing, and the method is a plain `LearningProcess`.
    personal: A `Local` at w^t to the weights of the client's own model, for personalised evaluation. None: it has none.
    gather: `(local, hparams)` at w^t to what clients send in a round of communication of its own before the round's
      work, with `full_gradient_of`; its mean is the message of the round. None: there is no such round.
    round_steps: `(seed, round_num)` to the number of local steps that all clients of a round take, or fewer if their
      budgets are smaller, where the method draws it. None: the budgets alone.
    full_participation: Whether the method needs all clients in every round.
    plain_sgd: Whether the rule holds for clients of plain SGD only.
    own_step_size: Whether the direction has its step size in it, so that there is no client optimizer.
    num_components: M of a method that trains a mixture of M models; 0 for one model.
    start_server: `weights` to the server before the first round; only the shapes of the weights count.
    update_server: `(server, report, hparams)` to the server after a round, from the mean report. None: the server
      optimizer descends the mean update.
    update_message: `(server, report, hparams)` to the next round's message, from the server before the round; after
      either step of the server. None: the message stays, unless `update_server` replaces it.
    server_hparams: Of these two, as `hparams`; its `learning_rate` is the flag --server_learning_rate. A `num_clients`
      among them, None here, is N, the number of clients of the federation.
    evaluated: `server` to the weights to evaluate. None: w^t.
    adapt: `losses` so far, f(w^0), f(w^1), ..., to the hyperparameters of the next round; None keeps them.
    straggler_policy: What the method's paper does with clients that run out of time: 'partial' keeps their partial
      work, 'drop' leaves them out of the round, as in FedAvg, which is also what papers that say nothing get.
    weighting: The clients' masses in the mean: 'examples' (n_k) or 'uniform'.
  """

  name: str
  hparams: Hparams = types.MappingProxyType({})
  start: Callable[[Local, Hparams], Local] = start_at_anchor
  direction: Direction = gradient_direction
  step: Callable[[Weights, Local, Hparams], tuple[Weights, Any]] | None = None
  finish: Callable[[Local, Hparams], Report] = report_displacement
  start_client: Callable[[Local], Any] | None = None
  personal: Callable[[Local], Weights] | None = None
  gather: Callable[[Local, Hparams], Weights] | None = None
  round_steps: Callable[[int, int], int] | None = None
  full_participation: bool = False
  plain_sgd: bool = False
  own_step_size: bool = False
  num_components: int = 0
  start_server: Callable[[Weights], Server] = Server
  update_server: Callable[[Server, Report, Hparams], Server] | None = None
  update_message: Callable[[Server, Report, Hparams], Weights] | None = None
  server_hparams: Hparams = types.MappingProxyType({})
  evaluated: Callable[[Server], Weights] | None = None
  adapt: Callable[[Sequence[float]], Hparams] | None = None
  straggler_policy: str = 'drop'
  weighting: str = 'examples'


class _NS:
  def __init__(self, **k):
    self.__dict__.update(k)


Algorithm.needs = property(
  lambda s: _NS(
    own_step_size=s.own_step_size,
    all_clients=s.full_participation,
    plain_sgd=s.plain_sgd,
    num_clients='num_clients' in s.server_hparams,
    components=s.num_components,
  )
)
Algorithm.policy = property(lambda s: _NS(weighting=s.weighting, stragglers=s.straggler_policy))
Algorithm.client = property(lambda s: _NS(init=s.start_client, hparams=s.hparams, personal=s.personal))
Algorithm.server = property(lambda s: _NS(update=s.update_server, hparams=s.server_hparams))
Algorithm.schedule = property(lambda s: _NS(adapt=s.adapt))
