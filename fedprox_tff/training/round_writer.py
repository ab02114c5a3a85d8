# SPDX-License-Identifier: Apache-2.0
"""What follows a round, in a second thread while the next one trains: evaluation, row, checkpoint, progress.

It stays some rounds behind at most. Where rounds follow each other fast, those of a line are evaluated in one pass over
the examples. What it measures depends on the weights of a round only, so the results are those of one thread.
"""

import collections
import concurrent.futures
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from fedprox_tff.config.record import Config
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.runtimes.runtime import Runtime
from fedprox_tff.training import columns, rows
from fedprox_tff.training.builder import Experiment
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.client_states import Snapshot
from fedprox_tff.training.measurement import Measurement
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.run_folder import RunFolder
from fedprox_tff.training.tensorboard import TensorBoard

_MOST_LINES = 4  # that the thread has, where they are of one round each
_MOST_LINES_OF_MANY = 2  # where they are of as many rounds as are evaluated at once
_MOST_ROUNDS = 64  # of a line: rounds that are not evaluated keep their states in memory as well
_SLOW_SECONDS = 0.25  # of a round that is shown at once, and does not wait for others


class _Round(NamedTuple):
  """A round that is to be written; see `RoundWriter.write`."""

  state: Any
  round_num: int
  weights: Weights | None  # None: nothing is measured at them
  row: Mapping[str, float]
  client_states: Snapshot | None


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
    self._measurement = Measurement(config, experiment)
    self._tensorboard = TensorBoard(folder.path / 'tensorboard')
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='round_writer')
    self._line: list[_Round] = []  # that the thread has not been given yet
    self._waiting: collections.deque[concurrent.futures.Future] = collections.deque()  # for the lines that it has
    self._written_at = -math.inf  # when the last round was put in the line
    self._has_failed = False  # nothing is written after a round that could not be
    self._newest: tuple[Any, int, Snapshot | None] | None = None  # the last written state, its round, clients' states
    self._losses: list[float] = []

  def __enter__(self) -> 'RoundWriter':
    return self

  def __exit__(self, error_type: type | None, *_) -> None:
    with self._tensorboard:
      try:
        self._submit()
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
    self._submit()
    self._finish()
    return self._losses

  def write(self, state: Any, round_num: int, row: Mapping[str, float], client_states: Snapshot | None = None) -> None:
    """Puts a round in the line of those to be written; waits if too many are.

    Args:
      state: The process's state after the round.
      round_num: The round.
      row: What was measured in training.
      client_states: What clients keep after the round.
    """
    weights = None
    if self._measurement.needs_weights(round_num):
      # Here, since TFF's context belongs to this thread.
      weights = self._experiment.process.get_model_weights(state).trainable
    is_slow = time.monotonic() - self._written_at > _SLOW_SECONDS
    self._line.append(_Round(state, round_num, weights, row, client_states))
    num_due = sum(self._measurement.is_due(each.round_num) for each in self._line)
    if is_slow or self._measurement.at_once in (1, num_due) or len(self._line) == _MOST_ROUNDS:
      self._finish((_MOST_LINES if self._measurement.at_once == 1 else _MOST_LINES_OF_MANY) - 1)
      self._submit()
    self._written_at = time.monotonic()

  def _submit(self) -> None:
    """Gives the thread what is in the line."""
    if self._line:
      self._waiting.append(self._thread.submit(self._write, self._line))
      self._line = []

  def _finish(self, but: int = 0) -> None:
    """Waits until all lines are written but the last few; what went wrong there is raised here."""
    while len(self._waiting) > but or (self._waiting and self._waiting[0].done()):
      self._waiting.popleft().result()

  def _write(self, line: Sequence[_Round]) -> None:
    if self._has_failed:
      return
    self._has_failed = True  # until all of it is done
    due = [each for each in line if self._measurement.is_due(each.round_num)]
    with tf.device(self._runtime.device):
      evaluations = self._measurement.evaluate([each.weights for each in due])
      scores = dict(zip((each.round_num for each in due), evaluations, strict=True))
      for each in line:
        measured = self._measurement.columns(
          each.round_num, each.weights, scores.get(each.round_num), each.client_states
        )
        self._write_row(each, {**each.row, **measured, **rows.of_memory(self._runtime.worker_memory_mb())})
    self._has_failed = False

  def _write_row(self, each: _Round, row: Mapping[str, float]) -> None:
    self._folder.before_writing()
    self._folder.metrics.append(row, each.round_num)
    self._tensorboard.write(row, each.round_num)
    self._losses.append(row[columns.TRAIN_LOSS.name])
    self._newest = (each.state, each.round_num, each.client_states)
    if each.round_num and each.round_num % self._config.rounds_per_checkpoint == 0:
      self._save(*self._newest)
    self._checkpoints.forget_before(each.round_num)
    self._progress.on_row(each.round_num, row)

  def _save(self, state: Any, round_num: int, client_states: Snapshot | None) -> None:
    self._tensorboard.flush()  # first: a run that goes on from this state writes the later rounds only
    self._checkpoints.save(state, round_num, client_states)
