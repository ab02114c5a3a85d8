# SPDX-License-Identifier: Apache-2.0
"""What is measured in a round, as columns of its row: in training, in the evaluation, of memory."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil

from fedprox_tff.federated.evaluation.dissimilarity import Dissimilarity
from fedprox_tff.federated.evaluation.global_model import Evaluation
from fedprox_tff.federated.evaluation.own_models import PersonalEvaluation
from fedprox_tff.training import columns
from fedprox_tff.training.cohort import Participant

Row = dict[str, float]  # by the names of columns


def of_training(participants: Sequence[Participant], metrics: Any, hparams: Mapping[str, Any], seconds: float) -> Row:
  """Returns what the cohort and the process measured in a round.

  Args:
    participants: The cohort; empty before training.
    metrics: What the process returned; None before training.
    hparams: The clients' hyperparameters of the round.
    seconds: Wall time of the round.
  """
  counts = metrics['client_work'] if metrics else {}
  server = metrics['finalizer'] if metrics else {}
  measured = 'gamma' in counts and counts['num_clients'] > 0
  return {
    columns.UPDATE_NORM.name: float(server.get('update_norm', 0.0)),
    columns.COHORT_SIZE.name: len(participants),
    columns.COHORT_STRAGGLERS.name: sum(p.straggler for p in participants),
    columns.COHORT_DROPPED.name: sum(p.dropped for p in participants),
    columns.COHORT_EPOCHS.name: sum(p.num_epochs for p in participants),
    columns.COHORT_STEPS.name: int(counts.get('num_steps', 0)),
    columns.COHORT_GRADIENTS.name: int(counts.get('num_gradients', 0)),
    columns.COHORT_FLOATS.name: int(counts.get('num_floats', 0)),
    columns.COHORT_NON_FINITE.name: int(counts.get('non_finite', 0)),
    columns.COHORT_SKIPPED.name: int(server.get('skipped', 0)),
    columns.GAMMA_MEAN.name: float(counts['gamma']) / float(counts['num_clients']) if measured else math.nan,
    columns.GAMMA_MAX.name: float(counts['gamma_max']) if measured else math.nan,
    columns.SECONDS_TRAIN.name: seconds,
    **{name: _shortest(hparams.get(name, 0.0)) for name in columns.OF_METHODS},
  }


def of_evaluation(
  train: Evaluation, test: Evaluation, personal: PersonalEvaluation, dissimilarity: Dissimilarity, seconds: float
) -> Row:
  """Returns what was measured at the round's weights, NaN where it was not due.

  Args:
    train: Of the global model on all training examples.
    test: Of the global model on all test examples.
    personal: Of clients' own models on their test examples.
    dissimilarity: Of the clients' gradients.
    seconds: Wall time of the evaluation.
  """
  return {
    columns.TEST_ACCURACY.name: test.accuracy,
    columns.TEST_ACCURACY_P10.name: test.accuracy_p10,
    columns.TEST_LOSS.name: test.loss,
    columns.TRAIN_ACCURACY.name: train.accuracy,
    columns.TRAIN_LOSS.name: train.loss,
    columns.PERSONAL_ACCURACY.name: personal.accuracy,
    columns.PERSONAL_ACCURACY_P10.name: personal.accuracy_p10,
    columns.PERSONAL_LOSS.name: personal.loss,
    columns.DISSIMILARITY_VARIANCE.name: dissimilarity.variance,
    columns.DISSIMILARITY_B.name: dissimilarity.b,
    columns.SECONDS_EVALUATION.name: seconds,
  }


def of_memory(worker_mb: float) -> Row:
  """Returns what this process and TFF's worker hold, in MiB."""
  return {
    columns.MEMORY_PROCESS.name: psutil.Process().memory_info().rss / 2**20,
    columns.MEMORY_WORKER.name: worker_mb,
  }


def _shortest(value: Any) -> float:
  """Returns a float32 as the shortest number that names it: 0.1, not 0.10000000149011612."""
  return float(str(np.float32(value)))
