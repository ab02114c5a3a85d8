# SPDX-License-Identifier: Apache-2.0
"""What a federated algorithm is: a record of pure functions over weights.

One round is the same for all (FedAvg; McMahan et al., AISTATS 2017, arXiv:1602.05629): clients start at the server's
weights w^t, take local steps along a direction within their budgets, and the server descends the weighted mean of
w^t - w_k. Cohorts, stragglers, budgets, batches and metrics never depend on the algorithm; a file beside this one says
only where its method differs:

    client   start -> (step, or its direction alone) -> ... -> finish
    server   start_server -> update_server -> ... , and evaluated

Hyperparameters are values in the process's state, on the clients' side (with the client optimizer's, such as its
learning rate) and on the server's.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff import tree
from fedprox_tff.tree import Weights


class Local(NamedTuple):
  """Where a client stands: before a local step, or after its last one."""

  weights: Weights  # w: the local iterate
  anchor: Weights  # w^t: the weights received from the server, frozen for the round
  message: Weights = ()  # what the server sent beside them
  scratch: Any = ()  # tensors that the method carries from step to step
  num_steps: Any = 0  # local steps taken so far
  gradient_of: Callable[[Weights], Weights] | None = None  # the gradient elsewhere, on the same batch


class Report(NamedTuple):
  """What a client sends. The server gets its mean over the clients, by their weights."""

  update: Weights  # w^t - w_k, TFF's sign
  extra: Any = ()  # other tensors


class Server(NamedTuple):
  """Where the server stands between rounds."""

  weights: Weights  # w^t
  message: Weights = ()  # what it sends beside them
  kept: Any = ()  # what it keeps to itself, such as momentum


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
    start: `(local, hparams)` to where a client begins: other weights than w^t, or scratch.
    direction: `(gradient, local, hparams)` to what one local step descends. The client optimizer applies it.
    step: `(gradient, local, hparams)` to what one local step descends, and the scratch of the next one. None: the
      direction, and no scratch.
    finish: `(local, hparams)` to the client's report, after its last step.
    plain_sgd: Whether the rule holds for clients of plain SGD only.
    own_step_size: Whether the direction has its step size in it, so that there is no client optimizer.
    start_server: `weights` to the server before the first round; only the shapes of the weights count.
    update_server: `(server, report, hparams)` to the server after a round, from the mean report. None: the server
      optimizer descends the mean update.
    server_hparams: Of `update_server`, as `hparams`; its `learning_rate` is the flag --server_learning_rate.
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
  plain_sgd: bool = False
  own_step_size: bool = False
  start_server: Callable[[Weights], Server] = Server
  update_server: Callable[[Server, Report, Hparams], Server] | None = None
  server_hparams: Hparams = types.MappingProxyType({})
  evaluated: Callable[[Server], Weights] | None = None
  adapt: Callable[[Sequence[float]], Hparams] | None = None
  straggler_policy: str = 'drop'
  weighting: str = 'examples'
