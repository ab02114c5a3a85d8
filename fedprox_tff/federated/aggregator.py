# SPDX-License-Identifier: Apache-2.0
"""What becomes of the clients' reports on their way to the server, as a `tff.templates.AggregationProcess`.

`update` and `extra` are averaged by the clients' weights, by TFF's own mean; `sums` are added up; `state` stays on the
client.
"""

import collections

import numpy as np
import tensorflow_federated as tff

_AVERAGED = ('update', 'extra')


def build_aggregator(
  report_type: tff.Type, mean: tff.aggregators.AggregationFactory | None = None
) -> tff.templates.AggregationProcess:
  """Builds the aggregation of a report of `report_type`, which is either the update itself or a struct of parts.

  The result has the parts that the server gets, or is the mean update itself if there is no other.

  Args:
    report_type: The report's.
    mean: What takes the place of the mean of the updates. None: TFF's weighted mean.

  Raises:
    ValueError: If there is such a `mean`, and the server gets more than the update.
  """
  weight_type = tff.TensorType(np.float32)
  names = _part_names(report_type)
  if mean is None:
    mean = tff.aggregators.MeanFactory()
  else:
    more = [name for name in names if name not in ('update', 'state')]
    if more:
      raise ValueError(
        f"the server gets clients' {' and '.join(more)} beside the update, of which the aggregator would know nothing."
      )
    if isinstance(mean, tff.aggregators.UnweightedAggregationFactory):
      mean = tff.aggregators.factory_utils.as_weighted_aggregator(mean)
  if not names or not set(names) - set(_AVERAGED):
    return mean.create(report_type, weight_type)

  averaged = _select(report_type, [name for name in names if name in _AVERAGED])
  mean_process = mean.create(averaged.type_signature.result, weight_type)

  @tff.federated_computation(
    mean_process.initialize.type_signature.result,
    tff.FederatedType(report_type, tff.CLIENTS),
    tff.FederatedType(weight_type, tff.CLIENTS),
  )
  def next_fn(state, report, weight):
    output = mean_process.next(state, tff.federated_map(averaged, report), weight)
    if 'sums' not in names:
      return output
    sums = tff.federated_sum(tff.federated_map(_select(report_type, ['sums']), report))
    joined = _join(averaged.type_signature.result, sums.type_signature.member)
    result = tff.federated_map(joined, (output.result, sums))
    return tff.templates.MeasuredProcessOutput(output.state, result, output.measurements)

  return tff.templates.AggregationProcess(mean_process.initialize, next_fn)


def select_state(report_type: tff.Type) -> tff.Computation:
  """Returns the computation from a client's report to what the client keeps."""

  @tff.tensorflow.computation(report_type)
  def state(report):
    return report['state']

  return state


def _part_names(report_type: tff.Type) -> list[str]:
  return [name for name, _ in tff.structure.to_elements(report_type) if name is not None]


def _select(report_type: tff.Type, names: list[str]) -> tff.Computation:
  """Returns the computation from a report to some of its parts; to the part itself if it is one."""

  @tff.tensorflow.computation(report_type)
  def select(report):
    return report[names[0]] if len(names) == 1 else collections.OrderedDict((name, report[name]) for name in names)

  return select


def _join(averaged_type: tff.Type, sums_type: tff.Type) -> tff.Computation:
  @tff.tensorflow.computation(averaged_type, sums_type)
  def join(averaged, sums):
    parts = averaged if isinstance(averaged, dict) else collections.OrderedDict(update=averaged)
    return collections.OrderedDict(parts, sums=sums)

  return join
