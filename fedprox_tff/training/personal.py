# SPDX-License-Identifier: Apache-2.0
"""The evaluation of clients' own models in a run: of those that clients keep, or that local steps make for it."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from fedprox_tff.algorithms.base import Algorithm, Local
from fedprox_tff.config.record import Config
from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import ClientSplit, Examples
from fedprox_tff.federated.evaluation.adaptation import Adapt, AdaptedModels, build_adaptation, context_of
from fedprox_tff.federated.evaluation.own_models import PersonalEvaluation, build_personal_evaluation
from fedprox_tff.federated.local_model import local_model
from fedprox_tff.federated.passes import GradientRule
from fedprox_tff.models import Model
from fedprox_tff.models.base import layers_of

# (the server's weights, the states of the clients that have taken part) -> their models' evaluation
PersonalEvaluator = Callable[[Weights, Mapping[int, Any]], PersonalEvaluation]


class PersonalEvaluators:
  """Makes evaluations, and keeps what is compiled for the next run that can use it."""

  def __init__(self):
    self._evaluations: dict[Hashable, PersonalEvaluator] = {}  # for the newest data
    self._adaptations: dict[Hashable, Adapt] = {}

  def forget_data(self) -> None:
    """Forgets what belongs to the data set of the last run."""
    self._evaluations.clear()

  def of(
    self,
    config: Config,
    algorithm: Algorithm,
    model: Model,
    optimizer: Any,
    *,
    structure: Hashable,
    hparams: Mapping[str, Any],
    trained: tuple[Examples, np.ndarray],
    tested: ClientSplit,
    batch_size: int,
  ) -> PersonalEvaluator | None:
    """Returns the evaluation of a run; None if its clients have no models of their own.

    Args:
      config: The run.
      algorithm: Its method.
      model: Its model.
      optimizer: Its client optimizer.
      structure: What runs have in common whose processes are one.
      hparams: The clients' hyperparameters in the first round, which adaptation has throughout.
      trained: All clients' training examples as tensors, and the clients' offsets in them.
      tested: What the models are evaluated on.
      batch_size: B of the run.
    """
    personal = _personal(algorithm, model)
    if algorithm.client.adapt is None:
      if personal is None:
        return None
      return self._evaluation(config.algorithm, model, personal, tested)
    evaluation = self._evaluation(None, model, lambda weights, state: state, tested)
    if structure not in self._adaptations:
      rule = GradientRule(config.clip_norm, config.l2)
      self._adaptations[structure] = build_adaptation(algorithm, local_model(model), optimizer, rule)
    adapt = self._adaptations[structure]
    hparams = {name: tf.convert_to_tensor(value, tf.float32) for name, value in hparams.items()}
    frozen = tuple(map(tf.convert_to_tensor, model.frozen))
    examples, offsets = trained[0]._asdict(), trained[1]

    def evaluate(weights: Weights, states: Mapping[int, Any]) -> PersonalEvaluation:
      weights, known = tuple(map(tf.convert_to_tensor, weights)), set(states)

      def adapted(client: int) -> Weights:
        own = personal(weights, states[client]) if personal is not None and client in known else weights
        context = context_of(
          algorithm.client.adapt,
          examples,
          range(*offsets[client : client + 2].tolist()),
          batch_size=batch_size,
          seed=config.seed,
          client=client,
        )
        return adapt(tuple(map(tf.convert_to_tensor, own)), frozen, hparams, examples, context)

      return evaluation(weights, AdaptedModels(adapted, len(offsets) - 1))

    return evaluate

  def _evaluation(
    self, key: Hashable, model: Model, personal: Callable[[Weights, Any], Weights], tested: ClientSplit
  ) -> PersonalEvaluator:
    if key not in self._evaluations:
      self._evaluations[key] = build_personal_evaluation(model, personal, tested.examples, tested.offsets)
    return self._evaluations[key]


def _personal(algorithm: Algorithm, model: Model) -> Callable[[Weights, Any], Weights] | None:
  """Returns the function from the server's weights and a client's state to its own weights, if there is one."""
  if algorithm.client.personal is None:
    return None
  layers = layers_of(model)
  return lambda weights, state: algorithm.client.personal(Local(weights, weights, state=state, **layers))
