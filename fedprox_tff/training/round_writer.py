# SPDX-License-Identifier: Apache-2.0
"""What follows a round, in a second thread while the next one trains: evaluation, row, checkpoint, progress.

It stays a few rounds behind at most. What it measures depends on the weights of its round only, so the results are
those of one thread.
"""

import collections
import concurrent.futures
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from fedprox_tff.config.record import Config
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.evaluation.dissimilarity import Dissimilarity
from fedprox_tff.federated.evaluation.global_model import Evaluation
from fedprox_tff.federated.evaluation.own_models import PersonalEvaluation
from fedprox_tff.federated.runtimes.runtime import Runtime
from fedprox_tff.training import columns, rows
from fedprox_tff.training.builder import Experiment
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.client_states import Snapshot
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.run_folder import RunFolder
from fedprox_tff.training.tensorboard import TensorBoard

_MOST_BEHIND = 4  # rounds: the evaluation of one takes as long as the training of three


class RoundWriter:
  """Evaluates, writes, saves and reports rounds one after another; a context manager.

  When it is left, however that happens, the state of the last written round is saved.
  """

  def __init__(
    self,
    config: Config,
    experiment: Experiment,
    runtime: Runtime,
    folder: RunFolder,
    *,
    checkpoints: Checkpoints,
    progress: Progress,
  ):
    self._config, self._experiment, self._runtime = config, experiment, runtime
    self._folder, self._checkpoints, self._progress = folder, checkpoints, progress
    self._tensorboard = TensorBoard(folder.path / 'tensorboard')
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='round_writer')
    self._waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    self._has_failed = False  # nothing is written after a round that could not be
    self._newest: tuple[Any, int, Snapshot | None] | None = None  # the last written state, its round, clients' states
    self._losses: list[float] = []

  def __enter__(self) -> 'RoundWriter':
    return self

  def __exit__(self, error_type: type | None, *_) -> None:
    with self._tensorboard:
      try:
        if error_type is None:
          self._finish()
      finally:
        self._thread.shutdown()
        if self._newest is not None:
          self._save(*self._newest)

  def resume(self, state: Any, round_num: int, client_states: Snapshot | None) -> None:
    """Takes up a run whose rounds up to `round_num` an earlier process has written."""
    self._losses = [row[columns.TRAIN_LOSS.name] for row in self._folder.metrics.rows()[: round_num + 1]]
    self._newest = (state, round_num, client_states)
    self._progress.on_resume(round_num)

  def losses(self) -> Sequence[float]:
    """Returns the training losses of all rounds so far, from round 0, once they are known."""
    self._finish()
    return self._losses

  def write(self, state: Any, round_num: int, row: Mapping[str, float], client_states: Snapshot | None = None) -> None:
    """Puts a round in the line of those to be written; waits if the line is long.

    Args:
      state: The process's state after the round.
      round_num: The round.
      row: What was measured in training.
      client_states: What clients keep after the round.
    """
    weights = None
    if self._is_due(round_num, self._config.rounds_per_evaluation) or self._dissimilarity_is_due(round_num):
      # Here, since TFF's context belongs to this thread.
      weights = self._experiment.process.get_model_weights(state).trainable
    self._finish(_MOST_BEHIND - 1)
    self._waiting.append(self._thread.submit(self._write, state, round_num, weights, row, client_states))

  def _finish(self, but: int = 0) -> None:
    """Waits until all rounds are written but the last few; what went wrong there is raised here."""
    while len(self._waiting) > but or (self._waiting and self._waiting[0].done()):
      self._waiting.popleft().result()

  def _write(
    self,
    state: Any,
    round_num: int,
    weights: Weights | None,
    row: Mapping[str, float],
    client_states: Snapshot | None,
  ) -> None:
    if self._has_failed:
      return
    self._has_failed = True  # until all of it is done
    with tf.device(self._runtime.device):
      row = {**row, **self._evaluate(weights, round_num, client_states)}
    row |= rows.of_memory(self._runtime.worker_memory_mb())
    self._folder.before_writing()
    self._folder.metrics.append(row, round_num)
    self._tensorboard.write(row, round_num)
    self._losses.append(row[columns.TRAIN_LOSS.name])
    self._newest = (state, round_num, client_states)
    if round_num and round_num % self._config.rounds_per_checkpoint == 0:
      self._save(state, round_num, client_states)
    self._checkpoints.forget_before(round_num)
    self._progress.on_row(round_num, row)
    self._has_failed = False

  def _save(self, state: Any, round_num: int, client_states: Snapshot | None) -> None:
    self._tensorboard.flush()  # first: a run that goes on from this state writes the later rounds only
    self._checkpoints.save(state, round_num, client_states)

  def _evaluate(self, weights: Weights | None, round_num: int, client_states: Snapshot | None) -> dict[str, float]:
    """Returns what is measured at the global weights and clients' own, NaN where it is not due, and what it took."""
    start = time.monotonic()
    train = test = Evaluation(math.nan, math.nan)
    personal = PersonalEvaluation(math.nan, math.nan, math.nan)
    dissimilarity = Dissimilarity(math.nan, math.nan)
    if self._is_due(round_num, self._config.rounds_per_evaluation):
      train, test = self._experiment.evaluate_train(weights), self._experiment.evaluate_test(weights)
      if self._experiment.evaluate_personal is not None:
        personal = self._experiment.evaluate_personal(weights, client_states or {})
    if self._dissimilarity_is_due(round_num):
      dissimilarity = self._experiment.dissimilarity(weights)
    return rows.of_evaluation(train, test, personal, dissimilarity, time.monotonic() - start)

  def _is_due(self, round_num: int, period: int) -> bool:
    return round_num % period == 0 or round_num == self._config.rounds

  def _dissimilarity_is_due(self, round_num: int) -> bool:
    period = self._config.rounds_per_dissimilarity
    return bool(period) and self._is_due(round_num, period)
