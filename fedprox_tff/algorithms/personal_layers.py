# SPDX-License-Identifier: Apache-2.0
"""Clients that keep some layers to themselves: what FedBN, FedPer and FedRep have in common.

A client starts at the server's weights with its own layers in them, and sends what has become of all others. Its own
layers never leave it, so the server's stay the initial ones. A client's own model is the server's weights with its own
layers in them. One that has never taken part has the initial layers.
"""

from collections.abc import Callable

from fedprox_tff.algorithms.base import ClientRule, Examples, Hparams, Local, Report, Start
from fedprox_tff.core import tree
from fedprox_tff.core.tree import Weights


def keeping(own_layers: Callable[[Local], tuple[bool, ...]]) -> ClientRule:
  """Returns FedAvg's clients, but each of them keeps some layers.

  Args:
    own_layers: As in `ClientRule`.
  """

  def kept(local: Local) -> Weights:
    return tuple(w for w, is_own in zip(local.weights, own_layers(local), strict=True) if is_own)

  def with_kept(local: Local) -> Weights:
    own = iter(local.state)
    return tuple(next(own) if is_own else w for w, is_own in zip(local.anchor, own_layers(local), strict=True))

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del examples, hparams
    return Start(with_kept(local))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    moved = zip(tree.sub(local.anchor, local.weights), tree.zeros_like(local.anchor), own_layers(local), strict=True)
    return Report(tuple(zero if is_own else u for u, zero, is_own in moved), state=kept(local))

  return ClientRule(init=kept, start=start, finish=finish, personal=with_kept, own_layers=own_layers)
