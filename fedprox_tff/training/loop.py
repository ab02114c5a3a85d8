# SPDX-License-Identifier: Apache-2.0
"""One run: resume, then round after round a cohort, its payloads and the process; `RoundWriter` does the rest."""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fedprox_tff.config.record import Config
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.runtimes.client_files import Shards
from fedprox_tff.federated.runtimes.client_values import OnDemand, received_by
from fedprox_tff.federated.runtimes.in_process import LARGEST_GROUP
from fedprox_tff.federated.runtimes.runtime import Runtime
from fedprox_tff.training.builder import Experiment
from fedprox_tff.training.client_states import ClientStates, Snapshot
from fedprox_tff.training.cohort import Participant, sample_cohort, with_at_most
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.round_writer import RoundWriter
from fedprox_tff.training.run_folder import RunFolder


def train(config: Config, experiment: Experiment, runtime: Runtime, folder: RunFolder, progress: Progress) -> None:
  """Trains until `config.rounds`, from the newest checkpoint in `folder` if there is one.

  However it ends, the state of the last whole round is saved.

  Args:
    config: The run.
    experiment: Its parts.
    runtime: The runtime in use.
    folder: Where rows and checkpoints go, and where an earlier part of the run may lie.
    progress: Is told of each round.
  """
  process = experiment.process
  with _client_data(experiment, runtime) as data, RoundWriter(config, experiment, runtime, folder, progress) as writer:
    states = _client_states(config, experiment, folder)
    state, round_num = folder.load(experiment.initial_state, states)
    kept = _snapshot(states)
    if state is None:
      state = experiment.initial_state
      writer.write(state, 0, _row_of_round([], None, _mu(experiment, state), seconds=0.0), kept)
    else:
      writer.resume(state, round_num, kept)
    mu = _mu(experiment, state)
    if round_num < config.rounds:
      _compile(config, experiment, data)
    while round_num < config.rounds:
      if experiment.algorithm.adapt is not None:
        state = _adapt(experiment, state, writer.losses())
        mu = _mu(experiment, state)
      start = time.monotonic()
      round_num += 1
      participants = _draw_cohort(config, experiment, round_num)
      payloads = [_payload(config, data, p, round_num, _state_of(p.client, kept, runtime)) for p in participants]
      output = _next(process, state, payloads, states=states, participants=participants, round_num=round_num)
      state = output.state
      row = _row_of_round(participants, output.metrics, mu, seconds=time.monotonic() - start)
      kept = _snapshot(states)
      writer.write(state, round_num, row, kept)


def _client_states(config: Config, experiment: Experiment, folder: RunFolder) -> ClientStates | None:
  """Returns what clients keep; None if they keep nothing."""
  if not experiment.initial_client_state:
    return None
  return ClientStates(experiment.initial_client_state, folder.path / 'client_states', place=config.client_states)


def _snapshot(states: ClientStates | None) -> Snapshot | None:
  return None if states is None else states.snapshot()


def _state_of(client: int, kept: Snapshot | None, runtime: Runtime) -> Any:
  """Returns what a client keeps, () if clients keep nothing; in this process it is read as the client works."""
  if kept is None:
    return ()
  read = functools.partial(kept.state_of, client)
  return OnDemand(read) if runtime.name == 'in_process' else read()


def _next(
  process: Any,
  state: Any,
  payloads: Sequence[Any],
  *,
  states: ClientStates | None,
  participants: Sequence[Participant],
  round_num: int,
) -> Any:
  """Runs a round; keeps the new states of clients that have worked, in this process one after another."""
  if states is None:
    return process.next(state, payloads)

  def keep(place: int, new: Any) -> None:
    if not participants[place].dropped:
      states.put(participants[place].client, new, round_num)

  with received_by(keep):
    output = process.next(state, payloads)
  for place, new in enumerate(output.client_states):
    if new is not None:  # of TFF's worker, which has returned all of them
      keep(place, new)
  return output._replace(client_states=None)


# The index of a client to its examples, and to which rows of them are its own.
ClientExamples = Callable[[int], tuple[Any, range]]


@contextlib.contextmanager
def _client_data(experiment: Experiment, runtime: Runtime) -> Iterator[ClientExamples]:
  """Puts the examples where clients find them: one array for all in this process, files for TFF's worker."""
  split = experiment.train_data.split
  if runtime.name == 'in_process':
    yield lambda client: (experiment.train_examples, range(*split.offsets[client : client + 2].tolist()))
  else:
    with Shards(split.examples, split.offsets) as shards:
      yield lambda client: (shards.dataset(client), range(int(split.sizes[client])))


def _compile(config: Config, experiment: Experiment, data: ClientExamples) -> None:
  """Compiles rounds, of one client and of many, by such that are forgotten, so that none of the run waits for it."""
  client = int(np.argmin(np.where(experiment.train_data.sizes > 0, experiment.train_data.sizes, np.inf)))
  step = Participant(client, num_steps=1, num_epochs=0, weight=1.0, straggler=False, dropped=False)
  payload = _payload(config, data, step, 0, experiment.initial_client_state)
  for num_clients in {1, min(config.clients_per_round, LARGEST_GROUP)}:
    experiment.process.next(experiment.initial_state, [payload] * num_clients)


def _adapt(experiment: Experiment, state: Any, losses: Sequence[float]) -> Any:
  """Returns the state with the hyperparameters of the next round, which the algorithm makes of the losses so far."""
  hparams = experiment.process.get_hparams(state)
  hparams['client_work'].update(experiment.algorithm.adapt(losses))
  return experiment.process.set_hparams(state, hparams)


def _mu(experiment: Experiment, state: Any) -> float:
  """Returns the strength of the proximal term as the shortest number that names it: 0.1, not 0.10000000149011612."""
  return float(str(np.float32(experiment.process.get_hparams(state)['client_work'].get('mu', 0.0))))


def _draw_cohort(config: Config, experiment: Experiment, round_num: int) -> list[Participant]:
  participants = sample_cohort(
    experiment.train_data.sizes,
    seed=config.seed,
    round_num=round_num,
    clients_per_round=config.clients_per_round,
    epochs=config.epochs,
    batch_size=config.batch_size,
    stragglers=config.stragglers,
    straggler_policy=config.straggler_policy,
    sampling=config.sampling,
    weighting=config.weighting,
  )
  draw_steps = experiment.algorithm.round_steps
  return participants if draw_steps is None else with_at_most(participants, draw_steps(config.seed, round_num))


def _payload(config: Config, data: ClientExamples, participant: Participant, round_num: int, state: Any) -> Any:
  examples, rows = data(participant.client)
  return client_payload(
    examples,
    rows=rows,
    num_epochs=config.epochs,
    batch_size=config.batch_size,
    key=(config.seed, round_num, participant.client),
    num_steps=participant.num_steps,
    weight=participant.weight,
    state=state,
  )


def _row_of_round(participants: Sequence[Participant], metrics: Any, mu: float, *, seconds: float) -> dict[str, float]:
  """Returns what the cohort and the process measured; zeros before training, where there is neither."""
  counts = metrics['client_work'] if metrics else {}
  measured = 'gamma' in counts and counts['num_clients'] > 0
  return {
    'train/update_norm': float(metrics['finalizer']['update_norm']) if metrics else 0.0,
    'cohort/size': len(participants),
    'cohort/stragglers': sum(p.straggler for p in participants),
    'cohort/dropped': sum(p.dropped for p in participants),
    'cohort/epochs': sum(p.num_epochs for p in participants),
    'cohort/steps': int(counts.get('num_steps', 0)),
    'cohort/non_finite': int(counts.get('non_finite', 0)),
    'cohort/skipped': int(metrics['finalizer']['skipped']) if metrics else 0,
    'gamma/mean': float(counts['gamma']) / float(counts['num_clients']) if measured else math.nan,
    'gamma/max': float(counts['gamma_max']) if measured else math.nan,
    'mu': mu,
    'seconds/train': seconds,
  }
