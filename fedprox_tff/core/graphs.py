# SPDX-License-Identifier: Apache-2.0
"""Serialized TensorFlow graphs as functions from a flat list of tensors to a flat list of tensors.

This is all that a machine needs of a computation to run it: no code of the computation's, and nothing of TFF's.
"""

import contextlib
import itertools
import threading
from collections.abc import Collection, Mapping, Sequence
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
    single_elements = [_single_element(name, graph_def) for name in source.parameters]
    feeds = {}
    for name, elements in zip(source.parameters, single_elements, strict=True):
      feeds |= elements or _placeholder(name, graph_def)
    self.single_elements = [list(elements) for elements in single_elements]
    self.specs = list(feeds.values())
    compute = _function(graph_def, feeds, source.results)
    self._run = compute
    if source.initialize_op:
      initialize = _function(graph_def, {}, [], also=source.initialize_op)

      @tf.function(input_signature=self.specs, autograph=False)
      def run(*feeds):
        initialize()
        return call(compute, feeds)

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


def _function(
  graph_def: tf.compat.v1.GraphDef, feeds: Mapping[str, tf.TensorSpec], fetches: Sequence[str], *, also: str = ''
) -> tf.types.experimental.ConcreteFunction:
  """Returns what computes some tensors of a graph from others, with nothing in it that is not needed for that.

  Args:
    graph_def: The graph.
    feeds: The names of the tensors that the function takes, and what they are.
    fetches: The names of those that it returns.
    also: An operation that is done as well.
  """
  nodes = {node.name: node for node in graph_def.node}
  places = {name: place for place, name in enumerate(feeds)}
  used, needed, given = set(), set(), {_node(name) for name in feeds}
  wanted = [name for name in fetches if _tensor(name) not in places] + ([also] if also else [])
  waiting = list(wanted)
  while waiting:
    name = waiting.pop()
    if _tensor(name) in places:
      used.add(_tensor(name))
    elif _node(name) not in needed:
      needed.add(_node(name))
      _forget_to_wait(nodes[_node(name)], given)
      waiting += nodes[_node(name)].input
  part = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
  part.node.extend(node for node in graph_def.node if node.name in needed)
  for node in part.node:
    node.attr.pop('_class', None)  # beside which other node it is to be placed, which may not be there

  def function(*tensors):
    replaced = {name: tensors[places[name]] for name in used}
    found = tf.graph_util.import_graph_def(part, input_map=replaced, return_elements=wanted, name='')
    found = dict(zip(wanted, found, strict=True))
    return [tensors[places[_tensor(name)]] if _tensor(name) in places else found[name] for name in fetches]

  wrapped = tf.compat.v1.wrap_function(function, list(feeds.values()))
  return wrapped.prune([], [wrapped.graph.as_graph_element(also)]) if also else wrapped


def _forget_to_wait(node: tf.compat.v1.NodeDef, given: Collection[str]) -> None:
  """Removes a node's control edges from nodes of which the results are given: those are not done."""
  kept = [name for name in node.input if not (name.startswith('^') and _node(name) in given)]
  del node.input[:]
  node.input.extend(kept)


def _single_element(parameter: str, graph_def: tf.compat.v1.GraphDef) -> dict[str, tf.TensorSpec]:
  """Returns what a graph takes out of a sequence if it is its single element and nothing else; otherwise nothing."""
  source = parameter
  while True:
    consumers = [node for node in graph_def.node if source in map(_tensor, node.input)]
    if len(consumers) != 1 or consumers[0].op not in ('Identity', 'DatasetToSingleElement'):
      return {}
    if consumers[0].op == 'DatasetToSingleElement':
      break
    source = f'{consumers[0].name}:0'
  shapes, types = (consumers[0].attr[key].list for key in ('output_shapes', 'output_types'))
  return {
    f'{consumers[0].name}:{place}': tf.TensorSpec(shape, dtype)
    for place, (shape, dtype) in enumerate(zip(shapes.shape, types.type, strict=True))
  }


def _placeholder(name: str, graph_def: tf.compat.v1.GraphDef) -> dict[str, tf.TensorSpec]:
  """Returns a parameter, which is fed as it is."""
  (node,) = (node for node in graph_def.node if node.name == _node(name))
  return {name: tf.TensorSpec(node.attr['shape'].shape, node.attr['dtype'].type)}


def _node(name: str) -> str:
  """Returns the node that a tensor or a control edge is of, by the name that graphs have for it."""
  return name.removeprefix('^').partition(':')[0]


def _tensor(name: str) -> str:
  """Returns the whole name of a tensor: graphs leave out the number of an operation's first result."""
  return name if ':' in name or name.startswith('^') else f'{name}:0'


def _make_names_unique(graph_def: tf.compat.v1.GraphDef) -> None:
  """Gives variables and tables names of their own: TensorFlow keeps them by name for the whole process."""
  suffix = f'_{next(_unique)}'
  functions = (function.node_def for function in graph_def.library.function)
  for node in itertools.chain(graph_def.node, *functions):
    if 'shared_name' in node.attr:
      name = node.attr['shared_name'].s or node.name.encode()
      node.attr['shared_name'].s = name + suffix.encode()
