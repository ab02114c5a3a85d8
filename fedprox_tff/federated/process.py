# SPDX-License-Identifier: Apache-2.0
"""A federated algorithm as a `tff.learning.templates.LearningProcess`.

Composed from TFF's templates: broadcast, our client work, TFF's weighted mean, and the server optimizer applied to the
mean of w^t - w_k. With server SGD at learning rate 1 that is w^{t+1} = sum_k n_k w_k / sum_k n_k over the clients that
contribute.
"""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.federated.client_work import build_client_work
from fedprox_tff.federated.local_model import TffModel, local_model
from fedprox_tff.models.base import Model


def build_process(
  algorithm: Algorithm,
  model: Model | TffModel,
  *,
  client_optimizer: tff.learning.optimizers.Optimizer,
  server_optimizer: tff.learning.optimizers.Optimizer | None = None,
  measure_gamma: bool = False,
) -> tff.learning.templates.LearningProcess:
  """Builds the process of `algorithm` over `model`.

  It stands where `tff.learning.algorithms.build_weighted_fed_prox` stood, with the right sign. Clients' data are made
  by `payloads.client_payload`.

  Args:
    algorithm: Such as `fedprox(mu=1.0)` or `fedavg()`.
    model: A model of this suite, a `tff.learning.models.FunctionalModel`, or a function without arguments that returns
      a new `tff.learning.models.VariableModel`. As in TFF, only trainable weights learn; the others stay the server's.
    client_optimizer: Applies each local step; fresh in every round.
    server_optimizer: Descends the weighted mean of w^t - w_k. None: SGD with learning rate 1, which averages.
    measure_gamma: Whether clients measure the inexactness of their solutions.

  Returns:
    A process. `next(state, payloads)` returns the metrics `client_work` (sums over the cohort: `num_steps`,
    `non_finite`, `num_clients`, and where it is measured `gamma`, beside its maximum `gamma_max`) and `finalizer`
    (`update_norm`, the L2 norm of the mean update, and `skipped`, 1 where the server took no step, since nobody
    contributed or the mean was not finite). `get_hparams` names what `set_hparams` can change between rounds, such as
    `hparams['client_work']['mu']`.
  """
  if server_optimizer is None:
    server_optimizer = tff.learning.optimizers.build_sgdm(learning_rate=1.0)
  local = local_model(model)

  @tff.tensorflow.computation
  def initial_weights():
    return tf.nest.map_structure(tf.constant, local.initial_weights)

  weights_type = initial_weights.type_signature.result
  aggregator = tff.aggregators.MeanFactory().create(weights_type.trainable, tff.TensorType(tf.float32.as_numpy_dtype))
  return tff.learning.templates.compose_learning_process(
    initial_weights,
    tff.learning.templates.build_broadcast_process(weights_type),
    build_client_work(algorithm, local, client_optimizer, measure_gamma=measure_gamma),
    aggregator,
    tff.learning.templates.build_apply_optimizer_finalizer(server_optimizer, weights_type, _measure_update),
  )


def _measure_update(optimizer_state, update):
  """Rejects a mean that is not finite: that of nobody, 0 / 0, or one whose norm overflows."""
  del optimizer_state
  norm = tf.linalg.global_norm(tf.nest.flatten(update))
  skip = tf.logical_not(tf.math.is_finite(norm))
  measurements = collections.OrderedDict(
    update_norm=tf.where(skip, 0.0, norm),
    skipped=tf.cast(skip, tf.int32),
  )
  return skip, measurements
