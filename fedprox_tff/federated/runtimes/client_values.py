# SPDX-License-Identifier: Apache-2.0
"""Rounds with a third result that stays on the clients, in the form that TFF has for two.

A `MapReduceForm` ends on the server. But what a client hands to an aggregation is a result of the form's `work`, be it
aggregated or not: an aggregation that ignores the clients' values makes them visible there, client by client.
"""

import collections
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.federated.runtimes.values import leaf_types

_NAME = 'stays_on_its_client'


def returns_client_values(comp: tff.Computation) -> bool:
  """Returns whether a round has a third result, placed at the clients."""
  result = comp.type_signature.result
  if not isinstance(result, tff.StructType) or len(result) != 3:
    return False
  return isinstance(result[2], tff.FederatedType) and result[2].placement is tff.CLIENTS


def keep_on_server(comp: tff.Computation) -> tff.Computation:
  """Returns the round `comp` with an aggregation of nothing in the place of its third result."""
  state_type, data_type = comp.type_signature.parameter
  value_type = comp.type_signature.result[2].member

  @tff.tensorflow.computation(value_type)
  def name(value):
    return collections.OrderedDict({_NAME: value})

  @tff.tensorflow.computation
  def zero():
    return tf.constant(0)

  @tff.tensorflow.computation(tf.int32, name.type_signature.result)
  def accumulate(total, value):
    del value
    return total

  @tff.tensorflow.computation(tf.int32, tf.int32)
  def merge(total, other):
    del other
    return total

  @tff.tensorflow.computation(tf.int32)
  def report(total):
    return total

  @tff.federated_computation(state_type, data_type)
  def round_on_server(state, data):
    result = comp(state, data)
    nothing = tff.federated_aggregate(tff.federated_map(name, result[2]), zero(), accumulate, merge, report)
    return result[0], tff.federated_zip((result[1], nothing))

  return round_on_server


def kept_leaves(form: Any) -> slice:
  """Returns where the tensors that stay on the clients are among the results of the form's `work`."""
  start = 0
  for _, value in tff.structure.to_elements(form.work.type_signature.result[0]):
    num_leaves = len(list(leaf_types(value)))
    if isinstance(value, tff.StructType) and hasattr(value, _NAME):
      return slice(start, start + num_leaves)
    start += num_leaves
  raise ValueError(f'No client value is among {form.work.type_signature.result}.')


def split_result(result: Any) -> tuple[Any, Any]:
  """Returns the two results on the server of what `keep_on_server` returned."""
  state, (output, _) = result
  return state, output
