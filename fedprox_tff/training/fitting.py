# SPDX-License-Identifier: Apache-2.0
"""Whether a config fits a federation, which is known only when the data are there, and the model that it then has."""

import numpy as np

from fedprox_tff.algorithms import needs
from fedprox_tff.algorithms.base import Algorithm, Local
from fedprox_tff.config.record import Config
from fedprox_tff.core import batches
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.machine.resources import GIB, free_memory
from fedprox_tff.models import Model
from fedprox_tff.models.base import has_features, layers_of
from fedprox_tff.models.mixture import mixture
from fedprox_tff.models.preparation import prepared

_MOST_STEPS = 2**31 - 1  # local steps are counted in int32
_ROW_BYTES = 4  # of an example's place in the order of the batches


def fitted_model(config: Config, dataset: FederatedDataset) -> Model:
  """Returns the model of a run: that of its flag, or the mixture of such models that its algorithm trains.

  Raises:
    UserError: If the model, the size of a cohort or the number of epochs does not fit the data.
  """
  algorithm, architecture = config.algorithm.build(), config.model.build()
  if config.clients_per_round > dataset.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: at most the {dataset.num_clients} clients there are.'
    )
  if algorithm.needs.all_clients and config.clients_per_round != dataset.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: {needs.of_all_clients(algorithm.name)}, {dataset.num_clients}.'
    )
  _check_budgets(config, dataset.train.sizes, is_cut=algorithm.schedule.round_steps is not None)
  _check_reached(config, algorithm, dataset.train.sizes)
  if algorithm.needs.components:
    architecture = mixture(architecture, algorithm.needs.components)
  x = dataset.train.examples.x
  try:
    model = architecture.build(dataset.task, seed=config.seed)
    model = model._replace(label_shape=dataset.task.label_shape)
    if algorithm.needs.features and not has_features(model):
      raise ValueError(
        f'{algorithm.name} compares what the last layer gets to see: behind others, a dense layer with a bias is '
        'needed, and one answer to each example.'
      )
    return prepared(model, dataset.inputs, input_shape=x.shape[1:], input_type=x.dtype.name)
  except ValueError as error:
    raise UserError(f'--model={config.model.name}: {error}') from None


def _check_budgets(config: Config, sizes: np.ndarray, *, is_cut: bool) -> None:
  """Refuses epochs of which the steps cannot be counted, or a round's batches not be kept in memory.

  Args:
    config: The run.
    sizes: n_k of each client.
    is_cut: Whether the method cuts budgets, so that a round may need less.

  Raises:
    UserError: If so.
  """
  sizes = np.sort(sizes)[::-1].tolist()
  batch_size = batches.bounded(config.batch_size, sizes[0])
  flag = f'--epochs={config.epochs}' if config.local_steps is None else f'--local_steps={config.local_steps}'

  def epochs_begun(num_examples: int) -> int:
    if config.local_steps is None:
      return config.epochs
    return -(-config.local_steps // max(1, batches.steps_per_epoch(num_examples, batch_size)))

  steps = epochs_begun(sizes[0]) * batches.steps_per_epoch(sizes[0], batch_size)
  if steps > _MOST_STEPS:
    raise UserError(f'{flag}: at most {_MOST_STEPS:,} local steps are possible; the largest client would take more.')
  if is_cut:
    return
  cohort = sizes[:1] * config.clients_per_round if config.sampling == 'proportional' else sizes
  rows = [
    epochs_begun(n) * batches.steps_per_epoch(n, batch_size) * batches.width(n, batch_size)
    for n in cohort[: config.clients_per_round]
  ]
  needed, free = (sum(rows) + 2 * rows[0]) * _ROW_BYTES, free_memory()  # the largest one's copies while it is drawn
  if needed > free:
    raise UserError(
      f'{flag}: the order of the batches of a round may take {needed // GIB:,} GiB, and {free / GIB:.1f} GiB are free.'
    )


def _check_reached(config: Config, algorithm: Algorithm, sizes: np.ndarray) -> None:
  """Refuses local steps of which no client has any left for what clients share.

  Raises:
    UserError: If so.
  """
  if config.local_steps is None or not algorithm.needs.epochs:
    return
  batch_size = batches.bounded(config.batch_size, int(sizes.max()))
  fewest = algorithm.needs.epochs * min(batches.steps_per_epoch(n, batch_size) for n in sizes[sizes > 0].tolist())
  if config.local_steps <= fewest:
    raise UserError(
      f'--local_steps={config.local_steps}: {needs.of_epochs(algorithm.name, algorithm.needs.epochs)}, {fewest} local '
      f'steps or more; at least {fewest + 1} are needed.'
    )


def check_fits(config: Config, dataset: FederatedDataset) -> str:
  """Refuses, before any run, what `builder.Builder` would refuse; returns what else a user should know, or nothing.

  Raises:
    UserError: If the model or the size of a cohort does not fit the data; it names the run.
  """
  try:
    model = fitted_model(config, dataset)
  except UserError as error:
    raise UserError(f'{config.name}: {error}') from None
  return note_on_layers(config, model)


def note_on_layers(config: Config, model: Model) -> str:
  """Returns the note on a method whose clients keep some layers, where the run's model has none such or no others."""
  own_layers, weights = config.algorithm.build().client.own_layers, model.initial_weights
  if own_layers is None:
    return ''
  own = own_layers(Local(weights, weights, **layers_of(model)))
  method, name = config.algorithm.name, config.model.name
  if not any(own):
    return f'note: --model={name} has no part that {method} would keep on clients, so all is shared'
  if all(own):
    return (
      f'note: {method} keeps all parts of --model={name} on clients, so nothing is shared: each client trains alone'
    )
  return ''
