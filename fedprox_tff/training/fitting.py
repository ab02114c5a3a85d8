# SPDX-License-Identifier: Apache-2.0
"""Whether a config fits a federation, which is known only when the data are there, and the model that it then has."""

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.models import MODELS, Model
from fedprox_tff.models.mixture import mixture


def fitted_model(config: Config, dataset: FederatedDataset) -> Model:
  """Returns the model of a run: that of its flag, or the mixture of such models that its algorithm trains.

  Raises:
    UserError: If the model or the size of a cohort does not fit the data.
  """
  algorithm = config.build_algorithm()
  if config.clients_per_round > dataset.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: at most the {dataset.num_clients} clients there are.'
    )
  if algorithm.full_participation and config.clients_per_round != dataset.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: {config.algorithm} needs all clients in every round, '
      f'{dataset.num_clients}.'
    )
  factory = MODELS[config.model]
  try:
    if algorithm.num_components:
      factory = mixture(factory, algorithm.num_components)
    return factory(dataset.input_shape, dataset.num_classes, seed=config.seed)
  except ValueError as error:
    raise UserError(f'--model={config.model}: {error}') from None
