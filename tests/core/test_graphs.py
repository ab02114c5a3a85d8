# SPDX-License-Identifier: Apache-2.0
"""Graphs as functions: what they are fed, what they leave out, and variables that each call sets anew."""

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.graphs import Graph, SerializedGraph


def serialized(build, *, initialize=''):
  """Returns the graph that a function builds, which returns the tensors that go in and those that come out."""
  with tf.Graph().as_default() as graph:
    parameters, results = build()
  names = [tuple(tensor.name for tensor in tensors) for tensors in (parameters, results)]
  return SerializedGraph(graph.as_graph_def().SerializeToString(), *names, initialize)


def placeholders(*shapes):
  return [tf.compat.v1.placeholder(tf.float32, shape) for shape in shapes]


def numbers(tensors):
  return [tensor.numpy().tolist() for tensor in tensors]


def test_a_result_may_be_a_parameter_and_a_parameter_may_be_of_no_use():
  def build():
    x, unused, y = placeholders([], [3], [None])
    return [x, unused, y], [y, x + y, x, x + y]

  graph = Graph(serialized(build))
  assert [spec.shape.as_list() for spec in graph.specs] == [[], [3], [None]]
  results = graph([tf.constant(2.0), tf.zeros([3]), tf.constant([1.0, 5.0])])
  assert numbers(results) == [[1.0, 5.0], [3.0, 7.0], 2.0, [3.0, 7.0]]


def test_what_no_result_needs_is_left_out():
  def build():
    (x,) = placeholders([])
    with tf.control_dependencies([tf.debugging.Assert(x < 0, ['never'], name='needed')]):
      y = tf.identity(x)
    tf.debugging.Assert(x > 0, ['never'], name='of_no_use')
    return [x], [y]

  graph = Graph(serialized(build))
  assert numbers(graph([tf.constant(-1.0)])) == [-1.0]
  with pytest.raises(tf.errors.InvalidArgumentError, match='never'):
    graph([tf.constant(1.0)])
  assert not [op.name for op in graph._run.graph.get_operations() if 'of_no_use' in op.name]


def test_a_single_element_is_fed_as_its_tensors_and_any_other_sequence_as_it_is():
  spec = {'a': tf.TensorSpec([None, 2], tf.float32), 'b': tf.TensorSpec([], tf.int32)}

  def build(take):
    variant = tf.compat.v1.placeholder(tf.variant, [])
    dataset = tf.data.experimental.from_variant(variant, spec)
    return [variant], take(dataset)

  def single(dataset):
    element = dataset.get_single_element()
    with tf.control_dependencies([element['b'].op]):  # as where something with an effect follows
      return [element['b'], tf.reduce_sum(element['a'])]

  def total(dataset):
    return [dataset.reduce(0, lambda count, element: count + element['b'])]

  alone, many = Graph(serialized(lambda: build(single))), Graph(serialized(lambda: build(total)))
  assert [len(tensors) for tensors in alone.single_elements] == [2]
  assert many.single_elements == [[]]
  assert [(each.dtype, each.shape.as_list()) for each in alone.specs] == [
    (tf.float32, [None, 2]),
    (tf.int32, []),
  ]
  assert numbers(alone([tf.constant([[1.0, 2.0]]), tf.constant(7)])) == [7, 3.0]
  dataset = tf.data.Dataset.from_tensor_slices(
    {'a': np.zeros((3, 1, 2), np.float32), 'b': np.array([1, 2, 3], np.int32)}
  )
  assert numbers(many([tf.data.experimental.to_variant(dataset)])) == [6]


def test_variables_are_set_anew_in_each_call_and_are_no_other_graphs():
  def build(first):
    (x,) = placeholders([])
    variable = tf.compat.v1.get_variable('v', initializer=first, use_resource=True)
    initialize.append(variable.initializer.name)
    with tf.control_dependencies([variable.assign_add(x)]):
      return [x], [variable.read_value()]

  initialize = []
  sources = [serialized(lambda first=first: build(first)) for first in (1.0, 10.0)]
  one, ten = (Graph(source._replace(initialize_op=initialize[0])) for source in sources)
  assert one.has_variables
  assert [numbers(graph([tf.constant(2.0)])) for graph in (one, ten, one)] == [[3.0], [12.0], [3.0]]


def test_functions_of_a_graph_are_known_in_another_one():
  """A loop's body is a function of its own."""

  def build():
    (x,) = placeholders([])
    _, result = tf.while_loop(lambda i, _: i < 3, lambda i, total: (i + 1, total * x), (0, tf.constant(1.0)))
    return [x], [result]

  graph = Graph(serialized(build))
  assert numbers(graph([tf.constant(2.0)])) == [8.0]

  @tf.function(autograph=False)
  def twice(x):
    return graph(graph([x]))

  assert numbers(twice(tf.constant(2.0))) == [512.0]
  outer = twice.get_concrete_function(tf.TensorSpec([], tf.float32))
  assert numbers(outer(tf.constant(1.0))) == [1.0]
