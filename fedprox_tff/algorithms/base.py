# SPDX-License-Identifier: Apache-2.0
"""What a federated algorithm is: a record of pure functions over weights.

One round is the same for all (FedAvg; McMahan et al., AISTATS 2017, arXiv:1602.05629): clients start at the server's
weights w^t, take local steps within their budgets, and the server descends the weighted mean of w^t - w_k. Cohorts,
stragglers, budgets, batches and metrics never depend on the algorithm; a file beside this one says only where its
method differs. The functions are called in this order:

    once        server.init, client.init
    a round     client.gather on every client, in a communication of its own, for the few methods that have it
                client.start, then client.step again and again, then client.finish
                server.update, or the server optimizer; then server.message
    evaluation  server.evaluated for the global model, client.personal for a client's own

Hyperparameters are values in the process's state, on the clients' side (with the client optimizer's, such as its
learning rate) and on the server's. `set_hparams` changes them between rounds without building anything anew.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from fedprox_tff.algorithms.needs import Needs
from fedprox_tff.core import tree
from fedprox_tff.core.columns import Column
from fedprox_tff.core.tree import Weights

Hparams = Mapping[str, Any]
NOTHING: Hparams = types.MappingProxyType({})


class Local(NamedTuple):
  """Where a client stands: before a local step, or after its last one."""

  weights: Weights  # w: the local iterate
  anchor: Weights  # w^t: the weights received from the server, frozen for the round
  message: Weights = ()  # what the server sent beside them
  state: Any = ()  # what the client has kept since its last round: a tuple of float tensors, or of tuples of them
  constants: Any = ()  # tensors that `start` works out for the whole round
  scratch: Any = ()  # tensors that the method carries from step to step
  num_steps: Any = 0  # local steps taken so far
  budget: Any = 0  # local steps that the client takes in the round, K_k
  num_examples: Any = 0  # n_k
  steps_per_epoch: Any = 0  # S, the batches of an epoch
  normalisation: tuple[bool, ...] = ()  # for each weight whether it is a normalisation layer's
  task_layers: tuple[bool, ...] = ()  # for each weight whether it is of the layers that a client's own task needs
  head: tuple[bool, ...] = ()  # for each weight whether it is of the last layer


class Data(Protocol):
  """What a client can ask of a batch, and of all its examples together."""

  def gradient(self, at: Weights) -> Weights:
    """Returns the gradient of the mean loss: g_k(at) of a batch, grad F_k(at) of all examples."""

  def gradient_of(self, loss: Callable[..., Any], at: Weights, *others: Weights) -> Weights:
    """Returns the gradient at `at` of the mean of a loss of features, for methods with `needs.features`.

    Args:
      loss: `(z, *z_others)` to the loss of each example, [batch]. z, [batch, d], are the features of `at`: what the
        last layer of the model gets to see. Those of other weights are constants.
      at: The weights to differentiate by.
      *others: Other weights whose features the loss is about.
    """


class Batch(Data, Protocol):
  """What a local step can ask of its batch."""

  @property
  def other(self) -> 'Batch':
    """Another batch of the client, for methods with `needs.other_batch`: the next step's; the last step's the first."""

  def move_statistics(self, before: Weights, after: Weights) -> Weights:
    """Returns `after` with the running statistics of `before`, moved on by the batch.

    For methods that move a model of their own from `before` to `after` by the gradient of the batch.
    """


class Examples(Data, Protocol):
  """What a client can ask of all its examples together, before its first local step and after its last."""

  def loss(self, at: Weights) -> Any:
    """Returns F_k(at), the mean loss."""

  def losses(self, at: Weights) -> Any:
    """Returns the loss of each example in each of a mixture's M models, [n_k, M]; M is 1 for any other model."""


class Start(NamedTuple):
  """Where a client begins its round."""

  weights: Weights  # the first local iterate
  constants: Any = ()  # tensors for the whole round
  scratch: Any = ()  # tensors for the first step
  example_weights: Any = None  # [n_k, M]: what each example's loss counts in each of M models; None: 1


class Step(NamedTuple):
  """What one local step does."""

  direction: Weights  # what the client optimizer descends
  scratch: Any = ()  # tensors for the next step


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


def start_at_anchor(local: Local, examples: Examples, hparams: Hparams) -> Start:
  """FedAvg's start: the server's weights."""
  del examples, hparams
  return Start(local.anchor)


def gradient_of_batch(local: Local, batch: Batch, hparams: Hparams) -> Weights:
  """FedAvg's objective is F_k itself: the gradient of the batch, as it is."""
  del hparams
  return batch.gradient(local.weights)


def report_displacement(local: Local, examples: Examples, hparams: Hparams) -> Report:
  """FedAvg's report: w^t - w_k alone."""
  del examples, hparams
  return Report(tree.sub(local.anchor, local.weights))


class Adaptation(NamedTuple):
  """How a client makes a model of its own when it is evaluated: by local steps on its training examples.

  Attributes:
    epochs: How many epochs they are.
    step: As `ClientRule.step`; the client optimizer, which is fresh, descends it.
    num_steps: How many local steps they are, or fewer if the epochs have fewer. None: all of the epochs.
    own_step_size: Whether the direction has its step size in it, so that SGD with learning rate 1 descends it.
  """

  epochs: int
  step: Callable[[Local, Batch, Hparams], Step]
  num_steps: int | None = None
  own_step_size: bool = False


class ClientRule(NamedTuple):
  """The client's part of a method.

  Attributes:
    hparams: Initial values of its hyperparameters. Its functions get them together with the client optimizer's.
    init: What a client keeps, `Local.state`, before it first takes part, from a `Local` at w^0. None: clients keep
      nothing, and the method is a plain `LearningProcess`.
    gather: `(local, examples, hparams)` at w^t to what clients send in a communication of its own before the round's
      work. Its mean is the message of the round, or what `server.gathered` makes of it. None: there is no such
      communication.
    start: `(local, examples, hparams)` to where the client begins.
    gradient: `(local, batch, hparams)` to the gradient of h_k, what the client minimises in a round. FedProx's is
      F_k(w) + mu/2 ||w - w^t||^2. A client's gamma-inexactness is measured by it.
    step: `(local, batch, hparams)` to how a local step descends. None: along `gradient`.
    finish: `(local, examples, hparams)` to the client's report, after its last step.
    personal: A `Local` at w^t to the weights of the client's own model, for personalised evaluation. None: it has none,
      or only what `adapt` makes of w^t.
    own_layers: A `Local` to which weights are of layers that stay on the client: no one else ever gets them. None: the
      server gets all weights. `personal_layers.keeping` makes the other fields that this takes.
    adapt: How the own model is adapted when it is evaluated. It starts at `personal`'s weights, or at w^t. None: it is
      not.
  """

  hparams: Hparams = NOTHING
  init: Callable[[Local], Any] | None = None
  gather: Callable[[Local, Examples, Hparams], Weights] | None = None
  start: Callable[[Local, Examples, Hparams], Start] = start_at_anchor
  gradient: Callable[[Local, Batch, Hparams], Weights] = gradient_of_batch
  step: Callable[[Local, Batch, Hparams], Step] | None = None
  finish: Callable[[Local, Examples, Hparams], Report] = report_displacement
  personal: Callable[[Local], Weights] | None = None
  own_layers: Callable[[Local], tuple[bool, ...]] | None = None
  adapt: Adaptation | None = None

  @property
  def has_own_model(self) -> bool:
    """Whether a client is served by a model of its own."""
    return self.personal is not None or self.adapt is not None


class ServerRule(NamedTuple):
  """The server's part of a method.

  Attributes:
    hparams: Initial values of its hyperparameters; `learning_rate` is the flag --server_learning_rate. Its functions
      also find `num_clients` there, N, if the method needs it.
    init: `weights` to the server before the first round; only the shapes of the weights count.
    update: `(server, report, hparams)` to the server after a round, from the mean report. None: the server optimizer
      descends the mean update.
    message: `(server, report, hparams)` to the next round's message, from the server before the round; after either
      step of the server. None: the message stays, unless `update` replaces it.
    gathered: `(message, mean)` to the message of the round, from the last one and the mean of what clients gathered,
      for methods that send more than that. None: the mean itself.
    evaluated: `server` to the weights to evaluate. None: w^t. Where somebody sets the weights, `init` makes anew what
      the server of such a method keeps, and it must be these weights that are evaluated then.
  """

  hparams: Hparams = NOTHING
  init: Callable[[Weights], Server] = Server
  update: Callable[[Server, Report, Hparams], Server] | None = None
  message: Callable[[Server, Report, Hparams], Weights] | None = None
  gathered: Callable[[Weights, Weights], Weights] | None = None
  evaluated: Callable[[Server], Weights] | None = None


class Schedule(NamedTuple):
  """What a method decides round by round.

  Attributes:
    round_steps: `(seed, round_num)` to the number of local steps that all clients of a round take, or fewer if their
      budgets are smaller, where the method draws it. None: the budgets alone.
    adapt: `losses` so far, f(w^0), f(w^1), ..., to the clients' hyperparameters of the next round. None keeps them.
  """

  round_steps: Callable[[int, int], int] | None = None
  adapt: Callable[[Sequence[float]], Hparams] | None = None


class Policy(NamedTuple):
  """What the method's paper does where a run does not say.

  Papers that say nothing of stragglers get FedAvg's policy.
  """

  stragglers: Literal['partial', 'drop'] = 'drop'  # keep what stragglers did, or leave them out of the round
  weighting: Literal['examples', 'uniform'] = 'examples'  # how clients are weighted when averaging: by n_k, or equally


class Algorithm(NamedTuple):
  """A federated algorithm, as what it changes in FedAvg.

  Attributes:
    name: The name on the command line.
    title: The name in figures and tables, as its paper writes it.
    words: What a legend says behind the title, by the parameter that it speaks of, such as mu.
    line: The style of its curves, one of Matplotlib's.
    client: The client's part.
    server: The server's part.
    needs: What it needs of the rest of a run.
    schedule: What it decides round by round.
    policy: What its paper does with stragglers, and in the mean.
    columns: Columns of metrics.csv that it adds: each the round's value of the client hyperparameter of that name.
  """

  name: str
  title: str
  words: Mapping[str, str] = NOTHING
  line: str = '-'
  client: ClientRule = ClientRule()
  server: ServerRule = ServerRule()
  needs: Needs = Needs()
  schedule: Schedule = Schedule()
  policy: Policy = Policy()
  columns: tuple[Column, ...] = ()


def shared_names(algorithm: Algorithm, optimizer_hparams: Sequence[str]) -> list[str]:
  """Returns the names that a method's client hyperparameters share with the client optimizer's: there must be none."""
  return sorted(set(algorithm.client.hparams) & set(optimizer_hparams))


def step_of(algorithm: Algorithm, local: Local, batch: Batch, hparams: Hparams) -> Step:
  """Returns how a local step of the method descends: its own step, or else along its gradient."""
  if algorithm.client.step is not None:
    return algorithm.client.step(local, batch, hparams)
  return Step(algorithm.client.gradient(local, batch, hparams))
