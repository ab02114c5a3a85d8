# SPDX-License-Identifier: Apache-2.0
"""Whether a config fits a federation, which is known only when the data are there, and the model that it then has."""

from fedprox_tff.algorithms.base import Local
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.models import Model
from fedprox_tff.models.mixture import mixture


def fitted_model(config: Config, dataset: FederatedDataset) -> Model:
  """Returns the model of a run: that of its flag, or the mixture of such models that its algorithm trains.

  Raises:
    UserError: If the model or the size of a cohort does not fit the data.
  """
  algorithm, architecture = config.algorithm.build(), config.model.build()
  if config.clients_per_round > dataset.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: at most the {dataset.num_clients} clients there are.'
    )
  if algorithm.needs.all_clients and config.clients_per_round != dataset.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: {algorithm.name} needs all clients in every round, '
      f'{dataset.num_clients}.'
    )
  if algorithm.needs.components:
    architecture = mixture(architecture, algorithm.needs.components)
  try:
    return architecture.build(dataset.input_shape, dataset.num_classes, seed=config.seed)
  except ValueError as error:
    raise UserError(f'--model={config.model.name}: {error}') from None


def check_fits(config: Config, dataset: FederatedDataset) -> str:
  """Refuses, before any run, what `builder.Builder` would refuse; returns what else a user should know, or nothing.

  Raises:
    UserError: If the model or the size of a cohort does not fit the data; it names the run.
  """
  try:
    model = fitted_model(config, dataset)
  except UserError as error:
    raise UserError(f'{config.name}: {error}') from None
  client, weights = config.algorithm.build().client, model.initial_weights
  local = Local(weights, weights, normalisation=model.normalisation or (False,) * len(weights))
  return '' if client.init is None or client.init(local) else nothing_is_kept(config)


def nothing_is_kept(config: Config) -> str:
  """Returns the note on a method whose clients would keep parts of the model, on a model that has no such part."""
  method, model = config.algorithm.name, config.model.name
  return f'note: --model={model} has no part that {method} would keep on clients, so all is shared'
