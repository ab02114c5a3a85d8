# SPDX-License-Identifier: Apache-2.0
"""What a config builds: the federation's data, the process, its initial state, and the evaluations.

Runs that differ only in values (mu, learning rates, seed, stragglers) share what is compiled: those values, and the
initial weights, are put into the state.
"""

import hashlib
from collections.abc import Callable, Collection, Hashable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.config.choice import Choice
from fedprox_tff.config.record import Config
from fedprox_tff.core import batches
from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import ALIGNMENT, ClientSplit, Examples, FederatedDataset
from fedprox_tff.federated.client_data import ArrayClientData
from fedprox_tff.federated.client_work import initial_client_state
from fedprox_tff.federated.evaluation.dissimilarity import Dissimilarity, build_dissimilarity
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.federated.evaluation.sample import sampled
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.passes import GradientRule
from fedprox_tff.federated.process import Process, build_process
from fedprox_tff.models import Model
from fedprox_tff.training.fitting import fitted_model, note_on_layers
from fedprox_tff.training.personal import PersonalEvaluator, PersonalEvaluators


class Experiment(NamedTuple):
  """The parts that a run iterates."""

  process: Process
  initial_state: Any  # with the run's hyperparameters and initial weights
  train_data: ArrayClientData
  train_examples: Examples  # all clients' together, as tensors
  evaluate_train: Evaluator  # over all clients' training examples: the global objective
  evaluate_test: Evaluator
  dissimilarity: Callable[[Weights], Dissimilarity]  # of the clients' gradients
  algorithm: Algorithm
  initial_client_state: Any  # of a client that has not taken part; () if clients keep nothing
  evaluate_personal: PersonalEvaluator | None  # of clients' own models on their test examples
  initial_weights: Weights  # that learn
  batch_size: int  # B as a number, and none that is larger than the federation's largest client makes sense of
  note: str  # what a user should know of the method on this model, or nothing


class Data(NamedTuple):
  """What is made of a data set for one kind of model."""

  dataset: FederatedDataset
  kind: Any  # of the model and its frozen weights, and how much it is evaluated on
  train_data: ArrayClientData
  train_examples: Examples
  evaluate_train: Evaluator
  evaluate_test: Evaluator
  dissimilarity: Callable[[Weights], Dissimilarity]
  tested: ClientSplit  # what clients' own models are evaluated on, as tensors


class Builder:
  """Builds experiments, one after another, in the runtime in use; keeps what the next one may share."""

  def __init__(self):
    self._processes: dict[Any, Process] = {}
    self._data: Data | None = None  # of the newest run only: data sets are large
    self._personal = PersonalEvaluators()

  def build(self, config: Config, dataset: FederatedDataset) -> Experiment:
    """Builds the parts of a run.

    Raises:
      UserError: If the model or the size of a cohort does not fit the data.
    """
    model = fitted_model(config, dataset)
    algorithm = config.algorithm.build()
    structure = _process_structure(config, algorithm, model, dataset)
    process = self._process(structure, config, algorithm, model, dataset.num_clients)
    initial_state = _initial_state(process, config, algorithm, model, dataset.num_clients)
    batch_size = batches.bounded(config.batch_size, int(dataset.train.sizes.max()))
    kind = (config.model, algorithm.needs.components, config.evaluation_examples, _digest(model.frozen))
    if self._data is None or self._data.dataset is not dataset or self._data.kind != kind:
      self._data = _data(dataset, model, kind, config.evaluation_examples)
      self._personal.forget_data()
    evaluate_personal = self._personal.of(
      config,
      algorithm,
      model,
      _client_optimizer(config),
      structure=structure,
      hparams=process.get_hparams(initial_state)['client_work'],
      trained=(self._data.train_examples, dataset.train.offsets),
      tested=self._data.tested,
      batch_size=batch_size,
    )
    return Experiment(
      process,
      initial_state,
      *self._data[2:-1],
      algorithm,
      tf.nest.map_structure(tf.constant, initial_client_state(algorithm, local_model(model))),
      evaluate_personal,
      model.initial_weights,
      batch_size,
      note_on_layers(config, model),
    )

  def _process(
    self, structure: Hashable, config: Config, algorithm: Algorithm, model: Model, num_clients: int
  ) -> Process:
    if structure not in self._processes:
      self._processes[structure] = build_process(
        algorithm,
        model,
        client_optimizer=_client_optimizer(config),
        server_optimizer=_optimizer(config.server_optimizer, config.server_learning_rate),
        num_clients=num_clients,
        rule=GradientRule(config.clip_norm, config.l2),
        measure_gamma=config.measure_gamma,
      )
    return self._processes[structure]


def _process_structure(config: Config, algorithm: Algorithm, model: Model, dataset: FederatedDataset) -> Hashable:
  """Returns what runs have in common whose processes are one: all but values in the state."""
  values = algorithm.client.hparams.keys() | algorithm.server.hparams.keys()
  return (
    *(_structure(config.algorithm, values), config.model, dataset.task, model.input_shape, model.input_type),
    tuple(w.shape for w in (*model.initial_weights, *model.frozen)),  # which a data set's vectors of words decide
    *(config.client_optimizer, config.server_optimizer, config.measure_gamma),
    *(config.clip_norm, config.l2),
    dataset.num_clients if algorithm.needs.all_clients else None,  # by which rounds are refused
  )


def _structure(algorithm: Choice, hparams: Collection[str]) -> tuple[Any, ...]:
  """Returns a method's arguments without those that are values in the process's state, with all that they bring.

  `server_learning_rate` is the hyperparameter `learning_rate` of the server's rule.
  """
  values = {*hparams, 'server_learning_rate'}
  structural = [(key, value) for key, value in algorithm.values if key not in values]
  nested = [(key, _structure(v, hparams) if isinstance(v, Choice) else v) for key, v in structural]
  return (algorithm.name, *nested)


def _digest(arrays: Weights) -> str:
  """Returns what tells arrays apart: evaluations hold the weights that do not learn, which may be a seed's own."""
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array))
  return digest.hexdigest()


def _client_optimizer(config: Config) -> tff.learning.optimizers.Optimizer | None:
  return _optimizer(config.client_optimizer, config.learning_rate)


def _optimizer(chosen: Choice | None, learning_rate: float | None) -> tff.learning.optimizers.Optimizer | None:
  return None if chosen is None else chosen.build().build(learning_rate)


def _data(dataset: FederatedDataset, model: Model, kind: Any, evaluation_examples: int | None) -> Data:
  train = Examples(*map(_tensor, dataset.train.examples))
  trained_on = sampled(dataset.train, evaluation_examples, part=1)
  tested = sampled(dataset.test, evaluation_examples, part=2)
  tested = ClientSplit(Examples(*map(_tensor, tested.examples)), tested.offsets)
  return Data(
    dataset,
    kind,
    ArrayClientData(dataset.client_ids, dataset.train),
    train,
    Evaluator(model, train if trained_on is dataset.train else trained_on.examples),
    Evaluator(model, tested.examples, tested.offsets),
    build_dissimilarity(local_model(model), train._asdict(), dataset.train.offsets),
    tested,
  )


def _tensor(array: np.ndarray) -> tf.Tensor:
  """Returns an array as a tensor on the device, on a CPU the array itself: TensorFlow's own way copies it twice.

  TensorFlow computes with aligned memory only.
  """
  if array.ctypes.data % ALIGNMENT or not array.size or tf.config.get_visible_devices('GPU'):
    return tf.convert_to_tensor(array)
  return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _initial_state(process: Process, config: Config, algorithm: Algorithm, model: Model, num_clients: int) -> Any:
  state = process.initialize()
  hparams = process.get_hparams(state)
  hparams['client_work'].update(algorithm.client.hparams)
  hparams['finalizer'].update(algorithm.server.hparams)
  if algorithm.needs.num_clients:
    hparams['finalizer']['num_clients'] = float(num_clients)
  if config.client_optimizer is not None:
    hparams['client_work']['learning_rate'] = config.learning_rate
  if config.server_optimizer is not None:
    hparams['finalizer']['learning_rate'] = config.server_learning_rate
  state = process.set_hparams(state, hparams)
  weights = tff.learning.models.ModelWeights(model.initial_weights, model.frozen)
  return process.set_model_weights(state, weights)
