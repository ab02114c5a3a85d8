# SPDX-License-Identifier: Apache-2.0
"""What is measured at the weights of rounds: the global model, clients' own models, how clients' gradients differ."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fedprox_tff.config.record import Config
from fedprox_tff.core.tree import Weights
from fedprox_tff.federated.evaluation.dissimilarity import Dissimilarity
from fedprox_tff.federated.evaluation.global_model import Evaluation
from fedprox_tff.federated.evaluation.own_models import PersonalEvaluation
from fedprox_tff.training import rows
from fedprox_tff.training.builder import Experiment

_NONE = Evaluation(math.nan, math.nan)


class Scores(NamedTuple):
  """Evaluations of the global model, and what they took."""

  train: Evaluation = _NONE
  test: Evaluation = _NONE
  seconds: float = 0.0


class Measurement:
  """Measures the rounds of a run where that is due.

  Attributes:
    at_once: How many rounds' global models are evaluated in one pass over the examples at most. It is 1 where the next
      round waits for the loss of each.
  """

  def __init__(self, config: Config, experiment: Experiment):
    """Says which run it is."""
    self._config, self._experiment = config, experiment
    self.at_once = 1 if experiment.algorithm.schedule.adapt is not None else experiment.evaluate_train.at_once

  def is_due(self, round_num: int) -> bool:
    """Returns whether the models are evaluated after a round."""
    return self._is_last_of(round_num, self._config.rounds_per_evaluation)

  def needs_weights(self, round_num: int) -> bool:
    """Returns whether anything is measured at the weights after a round."""
    return self.is_due(round_num) or self._dissimilarity_is_due(round_num)

  def evaluate(self, models: Sequence[Weights]) -> list[Scores]:
    """Evaluates global models of rounds where that is due."""
    start = time.monotonic()
    evaluators = (self._experiment.evaluate_train, self._experiment.evaluate_test)
    results = [list(map(each, models)) if self.at_once == 1 else each.of_several(models) for each in evaluators]
    seconds = (time.monotonic() - start) / max(1, len(models))
    return [Scores(train, test, seconds) for train, test in zip(*results, strict=True)]

  def columns(
    self, round_num: int, weights: Weights | None, scores: Scores | None, client_states: Mapping[int, Any] | None
  ) -> rows.Row:
    """Measures the rest, and returns the columns of a round's row, with NaN for what is not due.

    Args:
      round_num: The round.
      weights: After it; None if nothing is measured at them.
      scores: The evaluations of its global model; None if they are not due.
      client_states: What clients keep after the round; None if they keep nothing.
    """
    start = time.monotonic()
    personal = PersonalEvaluation(math.nan, math.nan, math.nan)
    dissimilarity = Dissimilarity(math.nan, math.nan)
    if scores is not None and self._experiment.evaluate_personal is not None:
      personal = self._experiment.evaluate_personal(weights, client_states or {})
    if self._dissimilarity_is_due(round_num):
      dissimilarity = self._experiment.dissimilarity(weights)
    train, test, seconds = scores or Scores()
    return rows.of_evaluation(train, test, personal, dissimilarity, seconds + time.monotonic() - start)

  def _dissimilarity_is_due(self, round_num: int) -> bool:
    period = self._config.rounds_per_dissimilarity
    return bool(period) and self._is_last_of(round_num, period)

  def _is_last_of(self, round_num: int, period: int) -> bool:
    return round_num % period == 0 or round_num == self._config.rounds
