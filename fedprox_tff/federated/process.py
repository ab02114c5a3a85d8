# SPDX-License-Identifier: Apache-2.0
"""A federated algorithm as a process that iterates rounds, built with `tff.learning.templates`.

Broadcast, our client work, TFF's weighted mean, and the server optimizer, or the algorithm's own rule, applied to the
mean of w^t - w_k. With server SGD at learning rate 1 that is w^{t+1} = sum_k n_k w_k / sum_k n_k over the clients that
contribute. Methods without client state are plain `tff.learning.templates.LearningProcess`es.

What an algorithm's server sends beside the weights rides with those that do not learn, behind the model's own.
"""

import collections
import functools

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import needs
from fedprox_tff.algorithms.base import Algorithm, Server
from fedprox_tff.federated.aggregator import build_aggregator
from fedprox_tff.federated.client_model import LocalModel
from fedprox_tff.federated.client_work import build_client_work, initial_client_state, split_message
from fedprox_tff.federated.finalizer import build_finalizer, initial_kept
from fedprox_tff.federated.gathering import GatheringProcess, gathering
from fedprox_tff.federated.guarded_process import GuardedProcess, is_guarded
from fedprox_tff.federated.local_model import TffModel, local_model
from fedprox_tff.federated.passes import AS_IT_IS, GradientRule
from fedprox_tff.federated.sgd import is_plain_sgd, is_sgd
from fedprox_tff.federated.stateful_process import StatefulProcess, compose_stateful_process
from fedprox_tff.models.base import Model

Process = tff.learning.templates.LearningProcess | StatefulProcess | GatheringProcess | GuardedProcess


def build_process(
  algorithm: Algorithm,
  model: Model | TffModel | LocalModel,
  *,
  client_optimizer: tff.learning.optimizers.Optimizer | None,
  server_optimizer: tff.learning.optimizers.Optimizer | None = None,
  num_clients: int | None = None,
  rule: GradientRule = AS_IT_IS,
  measure_gamma: bool = False,
  aggregator: tff.aggregators.AggregationFactory | None = None,
) -> Process:
  """Builds the process of `algorithm` over `model`.

  It stands where `tff.learning.algorithms.build_weighted_fed_prox` stood, with the right sign. Clients' data are made
  by `payloads.client_payload`.

  Args:
    algorithm: Such as `fedprox(mu=1.0)` or `fedavg()`.
    model: A model of this suite, a `tff.learning.models.FunctionalModel`, or a function without arguments that returns
      a new `tff.learning.models.VariableModel`. As in TFF, only trainable weights learn; the others stay the server's.
      What TFF's models do not tell, such as which weights are the head, one can say in their `LocalModel`:
      `local_model(model)._replace(head=...)`.
    client_optimizer: Applies each local step; fresh in every round. Some algorithms take plain SGD only. None for an
      algorithm that finds its step sizes itself.
    server_optimizer: Descends the weighted mean of w^t - w_k. None: SGD with learning rate 1, which averages, or the
      algorithm's own rule.
    num_clients: N, the number of clients of the federation, for algorithms whose server counts them, or which need all
      of them in every round.
    rule: What becomes of every gradient of a batch before the algorithm sees it: clipping, weight decay.
    measure_gamma: Whether clients measure the inexactness of their solutions.
    aggregator: What takes the place of the weighted mean of the updates, one of `tff.aggregators`' factories: clipping,
      zeroing, compression, or differential privacy, which wants an unweighted one. For algorithms whose clients send
      the update alone. An unweighted one counts clients that are left out of a round as updates of zero.

  Returns:
    A process. `next(state, payloads)` returns the metrics `client_work` (sums over the cohort: `num_steps`,
    `non_finite`, `num_clients`, `num_gradients`, `num_floats`, and where it is measured `gamma`, beside its maximum
    `gamma_max`; `client_work.build_client_work` says what they are) and `finalizer`
    (`update_norm`, the L2 norm of the mean update, and `skipped`, 1 where the server took no step, since nobody
    contributed or the state after it would not have been finite). `get_hparams` names what `set_hparams` can change
    between rounds, such as `hparams['client_work']['mu']`. `get_model_weights` returns the weights to evaluate, which
    for FedExP are not those that training goes on from. Of algorithms with client state it is a `StatefulProcess`,
    whose payloads have the clients' states and whose `next` returns the new ones too. Of algorithms that need all
    clients, or equal weights, it is a `GuardedProcess`, whose `next` raises a `ValueError` for any other round.

  Raises:
    ValueError: If there is an optimizer that the algorithm has no use for, none where it needs one, one that is not
      plain SGD where it needs that, no number of clients where it needs that, a model that does not tell what it needs,
      or an aggregator where clients send more than the update.
  """
  if (client_optimizer is None) != algorithm.needs.own_step_size:
    raise ValueError(
      f'{algorithm.name} {"has step sizes of its own" if client_optimizer else "needs client_optimizer"}.'
    )
  if algorithm.needs.plain_sgd and not is_plain_sgd(client_optimizer):
    raise ValueError(f'client_optimizer: {needs.of_plain_sgd(algorithm.name)}.')
  if algorithm.needs.sgd and not is_sgd(client_optimizer):
    raise ValueError(f'client_optimizer: {needs.of_sgd(algorithm.name)}.')
  if server_optimizer is not None and algorithm.server.update is not None:
    raise ValueError(f"{algorithm.name} is a rule for the server's step itself: it takes no server_optimizer.")
  adapted = local_model(model)
  if algorithm.needs.features and adapted.features is None:
    raise ValueError(
      f"{algorithm.name} needs the features that the model's last layer gets: a network of this suite is needed."
    )
  if algorithm.needs.components and adapted.losses is None:
    raise ValueError(
      f"{algorithm.name} needs the loss of each example, and TFF's models know only that of a batch: a model of this "
      'suite is needed.'
    )
  if num_clients is None and (algorithm.needs.num_clients or algorithm.needs.all_clients):
    raise ValueError(f'{algorithm.name} needs num_clients, the number of clients of the federation.')
  if algorithm.needs.num_clients:
    hparams = {'num_clients': num_clients, **algorithm.server.hparams}
    algorithm = algorithm._replace(server=algorithm.server._replace(hparams=hparams))
  if aggregator is not None and algorithm.client.gather is not None:
    raise ValueError(
      f'aggregator: clients of {algorithm.name} send something before their update, of which the aggregator would know '
      'nothing.'
    )
  average = tff.learning.optimizers.build_sgdm(learning_rate=1.0)
  build = functools.partial(
    _compose,
    model=adapted,
    client_optimizer=client_optimizer or average,
    server_optimizer=server_optimizer or average,
    rule=rule,
    aggregator=aggregator,
  )
  process = build(algorithm, measure_gamma=measure_gamma)
  if algorithm.client.gather is not None:
    first = build(gathering(algorithm), measure_gamma=False, only_gathers=True)  # who only sends solves nothing
    process = GatheringProcess(first, process)
  return GuardedProcess(process, algorithm, num_clients) if is_guarded(algorithm) else process


def _compose(
  algorithm: Algorithm,
  model: LocalModel,
  client_optimizer: tff.learning.optimizers.Optimizer,
  server_optimizer: tff.learning.optimizers.Optimizer,
  *,
  rule: GradientRule,
  aggregator: tff.aggregators.AggregationFactory | None,
  measure_gamma: bool,
  only_gathers: bool = False,
) -> tff.learning.templates.LearningProcess | StatefulProcess:
  """Composes a process of its parts."""

  @tff.tensorflow.computation
  def initial_weights():
    trainable, non_trainable = model.initial_weights
    message = algorithm.server.init(trainable).message
    return tf.nest.map_structure(tf.constant, tff.learning.models.ModelWeights(trainable, (*non_trainable, *message)))

  weights_type = initial_weights.type_signature.result
  client_work = build_client_work(
    algorithm,
    model,
    client_optimizer,
    weights_type,
    rule=rule,
    measure_gamma=measure_gamma,
    only_gathers=only_gathers,
  )
  try:
    aggregator = build_aggregator(client_work.next.type_signature.result.result.member.update, aggregator)
  except ValueError as error:
    raise ValueError(f'aggregator: with {algorithm.name} {error}') from None
  report_type = aggregator.next.type_signature.result.result.member
  finalizer = build_finalizer(algorithm, model, server_optimizer, weights_type, report_type)
  client_state = initial_client_state(algorithm, model)
  if client_state:
    process = compose_stateful_process(
      initial_weights, client_work, aggregator, finalizer, initial_client_state=client_state
    )
  else:
    broadcast = tff.learning.templates.build_broadcast_process(weights_type)
    process = tff.learning.templates.compose_learning_process(
      initial_weights, broadcast, client_work, aggregator, finalizer
    )
  if _sends_the_model(algorithm, model):
    return process
  return _with_model_weights(process, algorithm, model, server_optimizer)


def _sends_the_model(algorithm: Algorithm, model: LocalModel) -> bool:
  """Returns whether what the server sends is what is evaluated, and nothing else."""
  return algorithm.server.evaluated is None and not algorithm.server.init(model.initial_weights.trainable).message


def _with_model_weights(
  process: tff.learning.templates.LearningProcess | StatefulProcess,
  algorithm: Algorithm,
  model: LocalModel,
  optimizer: tff.learning.optimizers.Optimizer,
) -> tff.learning.templates.LearningProcess | StatefulProcess:
  """Returns the process with the model's weights only in `get_model_weights` and `set_model_weights`."""
  state_type = process.get_model_weights.type_signature.parameter

  @tff.tensorflow.computation(state_type)
  def get_model_weights(state):
    trainable = state.global_model_weights.trainable
    non_trainable, message = split_message(model, state.global_model_weights.non_trainable)
    if algorithm.server.evaluated is not None:
      trainable = algorithm.server.evaluated(Server(trainable, message, state.finalizer['kept']))
    return tff.learning.models.ModelWeights(trainable, non_trainable)

  @tff.tensorflow.computation(state_type, get_model_weights.type_signature.result)
  def set_model_weights(state, weights):
    _, message = split_message(model, state.global_model_weights.non_trainable)
    sent = tff.learning.models.ModelWeights(weights.trainable, (*weights.non_trainable, *message))
    finalizer = state.finalizer
    if algorithm.server.evaluated is not None:  # what is kept, such as a step, leads away from other weights than these
      finalizer = collections.OrderedDict(finalizer, kept=initial_kept(algorithm, optimizer, weights.trainable))
    return tff.learning.templates.LearningAlgorithmState(
      sent, state.distributor, state.client_work, state.aggregator, finalizer
    )

  if isinstance(process, StatefulProcess):
    return process.with_model_weights(get_model_weights, set_model_weights)
  return tff.learning.templates.LearningProcess(
    process.initialize,
    process.next,
    get_model_weights,
    set_model_weights,
    get_hparams_fn=process.get_hparams,
    set_hparams_fn=process.set_hparams,
  )
