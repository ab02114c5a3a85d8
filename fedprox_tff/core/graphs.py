# SPDX-License-Identifier: Apache-2.0
"""Serialized TensorFlow graphs as functions from a flat list of tensors to a flat list of tensors.

This is all that a machine needs of a computation to run it: no code of the computation's, and nothing of TFF's.
"""

import contextlib
import functools
import itertools
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

_unique = itertools.count()


class SerializedGraph(NamedTuple):
  """A graph, and the names of the tensors that go into it and come out of it."""

  graph_def: bytes
  parameters: tuple[str, ...]
  results: tuple[str, ...]
  initialize_op: str  # of its variables; empty if it has none


class Graph:
  """A serialized graph as a function.

  A parameter that is a data set is one variant tensor. But where the graph only takes the single element out of it, as
  client work does, it is fed the element's tensors instead: no data set is built, and data that live on a device stay
  there.

  Attributes:
    single_elements: For each parameter the tensors of the single element that it is fed; nothing for any other one.
    specs: The tensors that the function takes.
  """

  def __init__(self, source: SerializedGraph):
    """Loads the graph."""
    graph_def = tf.compat.v1.GraphDef.FromString(source.graph_def)
    _make_names_unique(graph_def)
    imported = tf.compat.v1.wrap_function(functools.partial(tf.import_graph_def, graph_def, name=''), [])
    element = imported.graph.as_graph_element
    parameters = [element(name) for name in source.parameters]
    fetches = [element(name) for name in source.results]
    self.single_elements = [_single_element(parameter) for parameter in parameters]
    feeds = [
      tensor
      for parameter, elements in zip(parameters, self.single_elements, strict=True)
      for tensor in elements or [parameter]
    ]
    compute = imported.prune(feeds, fetches)
    initialize = imported.prune([], [element(source.initialize_op)]) if source.initialize_op else lambda: None

    self.specs = [tf.TensorSpec(feed.shape, feed.dtype) for feed in feeds]

    @tf.function(input_signature=self.specs, autograph=False)
    def run(*feeds):
      initialize()
      return compute(*feeds) if fetches else []

    self._run = run.get_concrete_function()
    # A computation with variables sets them in each call, so its calls must not overlap.
    self.has_variables = bool(source.initialize_op)
    self._guard = threading.Lock() if self.has_variables else contextlib.nullcontext()

  def __call__(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Runs the graph, also as a part of another one that is being traced."""
    if tf.inside_function():
      return list(self._run(*tensors))
    with self._guard:
      return call(self._run, tensors)


def call(function: Any, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
  """Calls a concrete function whose parameters and results are flat lists of tensors.

  As the operation that such a call ends in: binding each argument to its type takes longer than a small graph does.
  """
  return tf.raw_ops.StatefulPartitionedCall(
    args=[*tensors, *function.captured_inputs], Tout=[output.dtype for output in function.outputs], f=function
  )


def _single_element(parameter: tf.Tensor) -> list[tf.Tensor]:
  """Returns what a graph takes out of a sequence if it is its single element and nothing else; otherwise nothing."""
  consumers = parameter.consumers()
  while len(consumers) == 1 and consumers[0].type == 'Identity':
    consumers = consumers[0].outputs[0].consumers()
  if len(consumers) == 1 and consumers[0].type == 'DatasetToSingleElement':
    return list(consumers[0].outputs)
  return []


def _make_names_unique(graph_def: tf.compat.v1.GraphDef) -> None:
  """Gives variables and tables names of their own: TensorFlow keeps them by name for the whole process."""
  suffix = f'_{next(_unique)}'
  functions = (function.node_def for function in graph_def.library.function)
  for node in itertools.chain(graph_def.node, *functions):
    if 'shared_name' in node.attr:
      name = node.attr['shared_name'].s or node.name.encode()
      node.attr['shared_name'].s = name + suffix.encode()
