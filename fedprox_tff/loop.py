# SPDX-License-Identifier: Apache-2.0
"""One run: resume, then round after round a cohort, the process, an evaluation, a row and a checkpoint."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil

from fedprox_tff.cohort import Participant, sample_cohort
from fedprox_tff.config import Config
from fedprox_tff.experiment import Experiment
from fedprox_tff.federated.dissimilarity import Dissimilarity
from fedprox_tff.federated.evaluation import Evaluation
from fedprox_tff.federated.payloads import client_payload, padded_batches
from fedprox_tff.federated.runtimes import Runtime
from fedprox_tff.progress import Progress
from fedprox_tff.results import RunFolder

Row = Mapping[str, float]


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

  def finish_round(round_num: int, state: Any, row: Row, seconds: float) -> Row:
    """Evaluates the state after a round, and writes and returns its row."""
    row = {**row, **_evaluate(config, experiment, state, round_num), 'seconds/train': seconds}
    row['memory/process_mb'] = psutil.Process().memory_info().rss / 2**20
    row['memory/worker_mb'] = runtime.worker_memory_mb()
    folder.release(row, round_num)
    losses.append(row['train/loss'])
    return row

  process = experiment.process
  state, round_num = folder.load(experiment.initial_state)
  losses = []
  if runtime.name == 'in_process' and round_num < config.rounds:
    _compile_ahead(config, experiment)
  if state is None:
    state = experiment.initial_state
    progress.on_row(0, finish_round(0, state, _row_of_round([], None), seconds=0.0))
  else:
    progress.on_resume(round_num)
    losses += [row['train/loss'] for row in folder.rows()[: round_num + 1]]
  try:
    while round_num < config.rounds:
      start = time.monotonic()
      participants = _draw_cohort(config, experiment, round_num + 1)
      payloads = [_payload(config, experiment, participant, round_num + 1) for participant in participants]
      next_state, metrics = process.next(state, payloads)
      row = _row_of_round(participants, metrics)
      row = finish_round(round_num + 1, next_state, row, seconds=time.monotonic() - start)
      state, round_num = _adapt(experiment, next_state, losses), round_num + 1
      if round_num % config.rounds_per_checkpoint == 0:
        folder.save(state, round_num)
      progress.on_row(round_num, row)
  finally:
    folder.save(state, round_num)


def _compile_ahead(config: Config, experiment: Experiment) -> None:
  """Compiles the round for each size that clients are padded to, so that no round waits for it.

  The clients of this round take no steps, and what it returns is forgotten.
  """
  clients = {padded_batches(n, config.batch_size): k for k, n in enumerate(experiment.train_data.sizes.tolist())}
  idle = [Participant(k, num_steps=0, num_epochs=0, weight=0, straggler=False, dropped=True) for k in clients.values()]
  experiment.process.next(experiment.initial_state, [_payload(config, experiment, p, 0) for p in idle])


def _adapt(experiment: Experiment, state: Any, losses: Sequence[float]) -> Any:
  """Returns the state with the hyperparameters of the next round, where the algorithm changes them."""
  if experiment.adapt is None:
    return state
  hparams = experiment.process.get_hparams(state)
  hparams['client_work'].update(experiment.adapt(losses))
  return experiment.process.set_hparams(state, hparams)


def _draw_cohort(config: Config, experiment: Experiment, round_num: int) -> list[Participant]:
  return sample_cohort(
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


def _payload(config: Config, experiment: Experiment, participant: Participant, round_num: int) -> Any:
  client_id = experiment.train_data.client_ids[participant.client]
  return client_payload(
    experiment.train_data.examples(client_id),
    num_epochs=config.epochs,
    batch_size=config.batch_size,
    key=(config.seed, round_num, participant.client),
    num_steps=participant.num_steps,
    weight=participant.weight,
  )


def _row_of_round(participants: Sequence[Participant], metrics: Any) -> dict[str, float]:
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
  }


def _evaluate(config: Config, experiment: Experiment, state: Any, round_num: int) -> dict[str, float]:
  """Returns what is measured at the global weights, NaN where that is not due in this round, and what it took."""
  start = time.monotonic()
  train = test = Evaluation(math.nan, math.nan)
  dissimilarity = Dissimilarity(math.nan, math.nan)
  weights = experiment.process.get_model_weights(state).trainable
  if _is_due(round_num, config.rounds_per_evaluation, config):
    train, test = experiment.evaluate_train(weights), experiment.evaluate_test(weights)
  if config.rounds_per_dissimilarity and _is_due(round_num, config.rounds_per_dissimilarity, config):
    dissimilarity = experiment.dissimilarity(weights)
  return {
    'test/accuracy': test.accuracy,
    'test/loss': test.loss,
    'train/accuracy': train.accuracy,
    'train/loss': train.loss,
    'dissimilarity/variance': dissimilarity.variance,
    'dissimilarity/b': dissimilarity.b,
    'mu': _shortest(experiment.process.get_hparams(state)['client_work'].get('mu', 0.0)),
    'seconds/evaluation': time.monotonic() - start,
  }


def _shortest(value: Any) -> float:
  """Returns a float32 as the shortest number that names it: 0.1, not 0.10000000149011612."""
  return float(str(np.float32(value)))


def _is_due(round_num: int, period: int, config: Config) -> bool:
  return round_num % period == 0 or round_num == config.rounds
