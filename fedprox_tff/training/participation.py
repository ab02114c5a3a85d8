# SPDX-License-Identifier: Apache-2.0
"""The clients of a round: who they are, where their examples are, and the payload that each one gets."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fedprox_tff.config.record import Config
from fedprox_tff.core import batches
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.runtimes import Runtime
from fedprox_tff.federated.runtimes.client_files import Shards
from fedprox_tff.training.builder import Experiment
from fedprox_tff.training.cohort import Participant, sample_cohort, with_at_most

# The index of a client to its examples, and to which rows of them are its own.
ClientExamples = Callable[[int], tuple[Any, range]]


def clients_by_width(experiment: Experiment) -> list[int]:
  """Returns the smallest client for each width that batches have in a run: each has to be compiled."""
  sizes = experiment.train_data.sizes
  smallest: dict[int, int] = {}
  for size in np.unique(sizes[sizes > 0]).tolist():
    smallest.setdefault(batches.width(size, experiment.batch_size), size)
  return [int(np.argmax(sizes == size)) for size in smallest.values()]


def draw_cohort(config: Config, experiment: Experiment, round_num: int) -> list[Participant]:
  """Returns the participants of a round, with the budgets that the method leaves them."""
  participants = sample_cohort(
    experiment.train_data.sizes,
    seed=config.seed,
    round_num=round_num,
    clients_per_round=config.clients_per_round,
    epochs=config.epochs,
    local_steps=config.local_steps,
    batch_size=experiment.batch_size,
    stragglers=config.stragglers,
    straggler_policy=config.straggler_policy,
    sampling=config.sampling,
    weighting=config.weighting,
  )
  draw_steps = experiment.algorithm.schedule.round_steps
  return participants if draw_steps is None else with_at_most(participants, draw_steps(config.seed, round_num))


@contextlib.contextmanager
def client_examples(experiment: Experiment, runtime: Runtime) -> Iterator[ClientExamples]:
  """Puts the examples where clients find them: one array for all in a process, files for TFF's worker."""
  split = experiment.train_data.split
  if runtime.name != 'worker':
    yield lambda client: (experiment.train_examples, range(*split.offsets[client : client + 2].tolist()))
  else:
    with Shards(split.examples, split.offsets) as shards:
      yield lambda client: (shards.dataset(client), range(int(split.sizes[client])))


def payload_of(
  config: Config, experiment: Experiment, data: ClientExamples, participant: Participant, round_num: int
) -> Any:
  """Returns a participant's payload, without what it has kept."""
  examples, rows = data(participant.client)
  num_epochs = config.epochs
  if num_epochs is None:
    num_epochs = -(-config.local_steps // max(1, batches.steps_per_epoch(len(rows), experiment.batch_size)))
  return client_payload(
    examples,
    rows=rows,
    num_epochs=num_epochs,
    batch_size=experiment.batch_size,
    key=(config.seed, round_num, participant.client),
    num_steps=participant.num_steps,
    weight=participant.weight,
  )
