# SPDX-License-Identifier: Apache-2.0
"""One run: resume, then round after round a cohort, its payloads and the process; `RoundWriter` does the rest."""

import time
from collections.abc import Mapping
from typing import Any

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import DamagedError, RunFailedError
from fedprox_tff.federated.rounds import Rounds
from fedprox_tff.federated.runtimes import Runtime
from fedprox_tff.federated.runtimes.context import largest_group
from fedprox_tff.training import config_file, rows, state_files
from fedprox_tff.training.builder import Experiment
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.client_memory import NEEDS_A_SHARED_DISK, client_memory
from fedprox_tff.training.client_states import ClientStates, Snapshot
from fedprox_tff.training.cohort import Participant
from fedprox_tff.training.participation import (
  ClientExamples,
  client_examples,
  clients_by_width,
  draw_cohort,
  payload_of,
)
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

  Raises:
    UserError: If the folder holds damage that nothing can be restored from.
    RunFailedError: If what a client keeps is damaged while the run goes on.
  """
  try:
    _train(config, experiment, runtime, folder, progress)
  except DamagedError as error:
    raise RunFailedError(f'{error}. The same command goes on from the newest checkpoint that is whole.') from error


def _train(config: Config, experiment: Experiment, runtime: Runtime, folder: RunFolder, progress: Progress) -> None:
  rounds, checkpoints = Rounds(experiment.process, runtime), Checkpoints(folder, progress.say)
  for note in folder.notes:
    progress.say(note)
  with (
    client_examples(experiment, runtime) as data,
    RoundWriter(config, experiment, runtime, folder, checkpoints=checkpoints, progress=progress) as writer,
  ):
    states = _client_states(config, experiment, folder)
    if states is not None and states.is_on_disk:
      runtime.need_file(folder.path / config_file.NAME, NEEDS_A_SHARED_DISK)
    state, round_num = checkpoints.load(experiment.initial_state, states)
    kept = _snapshot(states)
    if state is None:
      state = experiment.initial_state
      writer.write(state, 0, rows.of_training([], None, _hparams(experiment, state), seconds=0.0), kept)
    else:
      writer.resume(state, round_num, kept)
    hparams = _hparams(experiment, state)
    if round_num < config.rounds:
      with runtime.rehearsal():
        _compile(config, experiment, rounds, data)
    while round_num < config.rounds:
      round_num += 1
      changed = _changed(config, experiment, round_num, writer)
      if changed:
        state = _with_hparams(experiment, state, changed)
        hparams = _hparams(experiment, state)
      start = time.monotonic()
      cohort = draw_cohort(config, experiment, round_num)
      payloads = [payload_of(config, experiment, data, participant, round_num) for participant in cohort]
      state, metrics = rounds.next(state, payloads, *client_memory(cohort, kept, states, round_num, runtime))
      row = rows.of_training(cohort, metrics, hparams, seconds=time.monotonic() - start)
      kept = _snapshot(states)
      writer.write(state, round_num, row, kept)


def _client_states(config: Config, experiment: Experiment, folder: RunFolder) -> ClientStates | None:
  """Returns what clients keep; None if they keep nothing."""
  if not experiment.initial_client_state:
    return None
  return ClientStates(experiment.initial_client_state, folder.path / state_files.FOLDER, place=config.client_states)


def _snapshot(states: ClientStates | None) -> Snapshot | None:
  return None if states is None else states.snapshot()


def _compile(config: Config, experiment: Experiment, rounds: Rounds, data: ClientExamples) -> None:
  """Compiles rounds, of one client and of many, by such that are forgotten, so that none of the run waits for it."""
  largest = largest_group(sum(weight.nbytes for weight in experiment.initial_weights))
  for client in clients_by_width(experiment):
    step = Participant(client, num_steps=1, num_epochs=0, weight=1.0, straggler=False, dropped=False)
    payload = payload_of(config, experiment, data, step, 0)
    for num_clients in {1, min(config.clients_per_round, largest)}:
      rounds.rehearse(experiment.initial_state, [payload] * num_clients, experiment.initial_client_state)


def _hparams(experiment: Experiment, state: Any) -> Mapping[str, Any]:
  """Returns the clients' hyperparameters in a state of the process."""
  return experiment.process.get_hparams(state)['client_work']


def _changed(config: Config, experiment: Experiment, round_num: int, writer: RoundWriter) -> Mapping[str, Any]:
  """Returns the clients' hyperparameters that are others in a round than in the one before."""
  changed = {}
  if config.learning_rate_decay != 1:
    changed['learning_rate'] = config.learning_rate * config.learning_rate_decay ** (round_num - 1)
  if experiment.algorithm.schedule.adapt is not None:
    changed |= experiment.algorithm.schedule.adapt(writer.losses())
  return changed


def _with_hparams(experiment: Experiment, state: Any, changed: Mapping[str, Any]) -> Any:
  """Returns the state with other values of clients' hyperparameters."""
  hparams = experiment.process.get_hparams(state)
  hparams['client_work'].update(changed)
  return experiment.process.set_hparams(state, hparams)
