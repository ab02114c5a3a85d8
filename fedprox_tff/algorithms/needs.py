# SPDX-License-Identifier: Apache-2.0
"""What a method needs of the rest of a run, and the words in which a run without it is refused.

The command line refuses it before anything is loaded, and a process refuses it where it is built or iterated. Both say
the same.
"""

from typing import NamedTuple


class Needs(NamedTuple):
  """What a method needs of the rest of a run."""

  plain_sgd: bool = False  # the rule holds for clients of plain SGD only
  sgd: bool = False  # the rule holds for clients of SGD only, plain or with momentum, which it finds in `hparams`
  same_rate: bool = False  # the rule holds for a learning rate that stays the same in all rounds
  own_step_size: bool = False  # the direction has its step size in it, so that there is no client optimizer
  all_clients: bool = False  # every client takes part in every round
  plain_mean: bool = False  # all clients have one weight when averaging
  num_clients: bool = False  # the server's rule counts N, the clients of the federation, each once
  epochs: int = 0  # what clients share is trained after so many local epochs
  components: int = 0  # M of a method that trains a mixture of M models; 0 for one model
  other_batch: bool = False  # a local step uses a second batch, `Batch.other`
  features: bool = False  # it has a loss of the model's features, `Batch.gradient_of`


def of_plain_sgd(name: str) -> str:
  """Returns what a method of that name needs of the client optimizer."""
  return f'clients of {name} take steps of plain SGD; sgd without momentum is needed'


def of_sgd(name: str) -> str:
  """Returns what else a method of that name may need of the client optimizer."""
  return (
    f'{name} knows what a local step of sgd adds to w^t - w_k, with momentum or without; no other optimizer is possible'
  )


def of_all_clients(name: str) -> str:
  """Returns whom a method of that name needs in a round."""
  return f'{name} needs all clients in every round'


def of_plain_mean(name: str) -> str:
  """Returns how a method of that name has clients weighted."""
  return f'{name} is defined for the plain mean'


def of_epochs(name: str, epochs: int) -> str:
  """Returns what a method of that name needs its first epochs for."""
  return f'the first {epochs} epochs of {name} train what stays on clients'
