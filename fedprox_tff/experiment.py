# SPDX-License-Identifier: Apache-2.0
"""What a config builds: the federation's data, the model, the process, and the evaluations."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow_federated as tff

from fedprox_tff import optimizers
from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.config import Config
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.errors import UserError
from fedprox_tff.federated.client_data import ArrayClientData
from fedprox_tff.federated.evaluation import Evaluation, build_evaluation
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import MODELS
from fedprox_tff.tree import Weights


class Experiment(NamedTuple):
  """The parts that a run iterates."""

  process: tff.learning.templates.LearningProcess
  train_data: ArrayClientData
  evaluate_train: Callable[[Weights], Evaluation]  # over all clients' training examples: the global objective
  evaluate_test: Callable[[Weights], Evaluation]


def build_experiment(config: Config, dataset: FederatedDataset) -> Experiment:
  """Builds the parts of a run.

  Raises:
    UserError: If the model or the size of a cohort does not fit the data.
  """
  if config.clients_per_round > dataset.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: at most the {dataset.num_clients} clients there are.'
    )
  try:
    model = MODELS[config.model](dataset.input_shape, dataset.num_classes, seed=config.seed)
  except ValueError as error:
    raise UserError(f'--model={config.model}: {error}') from None
  algorithm = ALGORITHMS[config.algorithm]
  process = build_process(
    algorithm(**config.arguments_of(algorithm)),
    model,
    client_optimizer=optimizers.build(config.client_optimizer, learning_rate=config.learning_rate),
    server_optimizer=optimizers.build(config.server_optimizer, learning_rate=config.server_learning_rate),
  )
  return Experiment(
    process,
    ArrayClientData(dataset.client_ids, dataset.train),
    build_evaluation(model, dataset.train.examples),
    build_evaluation(model, dataset.test.examples),
  )
