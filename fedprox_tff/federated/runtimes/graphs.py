# SPDX-License-Identifier: Apache-2.0
"""TFF's serialized TensorFlow computations as TensorFlow functions, and values as the tensors that they take.

A serialized computation is a graph and, for its parameter and its result, the names of the tensors in the order of the
type. Values cross the border as flat lists in that order. A sequence is one variant tensor that holds a data set; but
where a graph only takes the single element out of one, as client work does, it is fed the element's tensors instead:
no data set is built, and data that live on a device stay there.
"""

import contextlib
import functools
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

_unique = itertools.count()


class SequenceValue(NamedTuple):
  """A sequence, a list of elements or a `tf.data.Dataset`, that a graph takes in one of two ways."""

  value: Any
  element_type: tff.Type

  def variant(self) -> tf.Tensor:
    """Returns the tensor that holds it as a data set."""
    if not isinstance(self.value, tf.data.Dataset):
      return tf.data.experimental.to_variant(_dataset(self.value, self.element_type))
    return tf.data.experimental.to_variant(self.value)

  def single_element(self) -> list[tf.Tensor]:
    """Returns the tensors of its only element, in the order of `tf.nest`."""
    is_dataset = isinstance(self.value, tf.data.Dataset)
    if not is_dataset and len(self.value) != 1:
      raise ValueError(f'A sequence of one element is needed; this one has {len(self.value)}.')
    element = self.value.get_single_element() if is_dataset else self.value[0]
    leaves = flatten(element, self.element_type)
    return [leaves[i] for i in _nest_order(self.element_type)]


class Graph:
  """A TensorFlow computation of TFF's as a function from a flat list of tensors to a flat list of tensors."""

  def __init__(self, comp: tff.Computation):
    """Loads `comp`, which must be a serialized TensorFlow computation."""
    proto = tff.framework.serialize_computation(comp).tensorflow
    graph_def = tf.compat.v1.GraphDef()
    proto.graph_def.Unpack(graph_def)
    _make_names_unique(graph_def)
    imported = tf.compat.v1.wrap_function(functools.partial(tf.import_graph_def, graph_def, name=''), [])
    element = imported.graph.as_graph_element
    parameters = [element(name) for name in _tensor_names(proto.parameter)]
    fetches = [element(name) for name in _tensor_names(proto.result)]
    self._single_elements = [_single_element(parameter) for parameter in parameters]
    feeds = [
      tensor
      for parameter, elements in zip(parameters, self._single_elements, strict=True)
      for tensor in elements or [parameter]
    ]
    compute = imported.prune(feeds, fetches)
    initialize = imported.prune([], [element(proto.initialize_op)]) if proto.initialize_op else lambda: None

    self.specs = [tf.TensorSpec(feed.shape, feed.dtype) for feed in feeds]

    @tf.function(input_signature=self.specs)
    def run(*feeds):
      initialize()
      return compute(*feeds) if fetches else []

    self._run = run.get_concrete_function()
    # A computation with variables sets them in each call, so its calls must not overlap.
    self.has_variables = bool(proto.initialize_op)
    self.guard = threading.Lock() if self.has_variables else contextlib.nullcontext()

  def __call__(self, feeds: Sequence[tf.Tensor | SequenceValue]) -> list[tf.Tensor]:
    """Runs the graph on the flat values of its parameter."""
    with self.guard:
      return call(self._run, self.tensors(feeds))

  def tensors(self, feeds: Sequence[tf.Tensor | SequenceValue]) -> list[tf.Tensor]:
    """Returns what the graph is fed, as `specs` has it, of the flat values of its parameter."""
    tensors = []
    for feed, single_element in zip(feeds, self._single_elements, strict=True):
      if not isinstance(feed, SequenceValue):
        tensors.append(feed)
      elif single_element:
        tensors += feed.single_element()
      else:
        tensors.append(feed.variant())
    return tensors

  def repeated(self, times: int) -> tf.types.experimental.ConcreteFunction:
    """Returns a function that runs the graph on so many lists of tensors, one after another, and stacks the results."""

    @tf.function(input_signature=self.specs * times)
    def run_all(*tensors):
      size = len(self.specs)
      results = [self._run(*tensors[i * size : (i + 1) * size]) for i in range(times)]
      return [tf.stack(leaves) for leaves in zip(*results, strict=True)]

    return run_all.get_concrete_function()


def call(function: Any, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
  """Calls a concrete function whose parameters and results are flat lists of tensors.

  As the operation that such a call ends in: binding each argument to its type takes longer than a small graph does.
  """
  if tf.inside_function():
    return function(*tensors)
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


def _tensor_names(binding: Any) -> list[str]:
  kind = binding.WhichOneof('binding')
  if kind == 'struct':
    return [name for element in binding.struct.element for name in _tensor_names(element)]
  if kind == 'sequence':
    return [binding.sequence.variant_tensor_name]
  return [binding.tensor.tensor_name] if kind == 'tensor' else []


def flatten(value: Any, type_spec: tff.Type) -> list[Any]:
  """Returns the tensors of `value` in the order of `type_spec`, each sequence as a `SequenceValue`.

  Raises:
    TypeError: If `value` does not have the structure of `type_spec`.
  """
  if isinstance(type_spec, tff.FederatedType):
    return flatten(value, type_spec.member)
  if isinstance(type_spec, tff.StructType):
    pairs = zip(_elements(value, type_spec), _element_types(type_spec), strict=True)
    return [leaf for element, element_type in pairs for leaf in flatten(element, element_type)]
  if isinstance(type_spec, tff.SequenceType):
    return [SequenceValue(value, type_spec.element)]
  return [tf.convert_to_tensor(value, type_spec.dtype.type)]


def _elements(value: Any, type_spec: tff.StructType) -> list[Any]:
  """Returns the elements of a Python container in the order of the type."""
  names = [name for name, _ in tff.structure.to_elements(type_spec)]
  if isinstance(value, Mapping):
    if set(value) != set(names):
      raise TypeError(f'Expected a struct with the names {names}, found {sorted(value)}.')
    return [value[name] for name in names]
  if not isinstance(value, tff.structure.Struct | Sequence):
    value = tff.structure.from_container(value)
  elements = list(value)
  if len(elements) != len(names):
    raise TypeError(f'Expected a struct of {len(names)} elements, {type_spec}, found {len(elements)}.')
  return elements


def _element_types(type_spec: tff.StructType) -> list[tff.Type]:
  return [element_type for _, element_type in tff.structure.to_elements(type_spec)]


@functools.cache
def _nest_order(type_spec: tff.Type) -> list[int]:
  """Returns the places of the leaves of a type in the order of `tf.nest`, which sorts the keys of mappings."""
  return tf.nest.flatten(unflatten(range(len(list(leaf_types(type_spec)))), type_spec))


def _dataset(elements: Sequence[Any], element_type: tff.Type) -> tf.data.Dataset:
  if not elements:
    leaves = [tf.zeros([d or 0 for d in leaf.shape], leaf.dtype.type) for leaf in leaf_types(element_type)]
    return tf.data.Dataset.from_tensors(unflatten(leaves, element_type)).take(0)
  structures = [unflatten(flatten(element, element_type), element_type) for element in elements]
  datasets = map(tf.data.Dataset.from_tensors, structures)
  return functools.reduce(lambda first, second: first.concatenate(second), datasets)


def unflatten(leaves: Sequence[tf.Tensor], type_spec: tff.Type) -> Any:
  """Packs tensors, in the order of `type_spec`, into its Python containers."""
  return _packed(iter(leaves), type_spec)


def _packed(leaves: Iterator[tf.Tensor], type_spec: tff.Type) -> Any:
  """Does what `tff.types.type_to_py_container` does, which takes ten times as long to look at each value's type."""
  if isinstance(type_spec, tff.FederatedType):
    return _packed(leaves, type_spec.member)
  if isinstance(type_spec, tff.StructType):
    return pack([_packed(leaves, element_type) for element_type in _element_types(type_spec)], type_spec)
  if isinstance(type_spec, tff.SequenceType):
    spec = tff.types.structure_from_tensor_type_tree(lambda t: tf.TensorSpec(t.shape, t.dtype.type), type_spec.element)
    return tf.data.experimental.from_variant(next(leaves), spec)
  return next(leaves)


def pack(elements: Sequence[Any], type_spec: tff.StructType) -> Any:
  """Packs the elements of a struct into its Python container."""
  pairs = [(name, element) for (name, _), element in zip(tff.structure.to_elements(type_spec), elements, strict=True)]
  if not isinstance(type_spec, tff.types.StructWithPythonType):
    return tff.types.type_to_py_container(tff.structure.Struct(pairs), type_spec)
  container = type_spec.python_container
  if issubclass(container, Mapping):
    return container(pairs)
  has_names = bool(pairs) and pairs[0][0] is not None
  return container(**dict(pairs)) if has_names else container(elements)


def leaf_types(type_spec: tff.Type) -> Iterator[tff.Type]:
  """Yields the types of a value's tensors and sequences, in their order."""
  if isinstance(type_spec, tff.StructType):
    for element_type in _element_types(type_spec):
      yield from leaf_types(element_type)
  else:
    yield type_spec
