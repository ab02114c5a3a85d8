# SPDX-License-Identifier: Apache-2.0
"""What TFF's types have to do with graphs: values as the tensors that graphs take, and computations as graphs.

A serialized computation is a graph and, for its parameter and its result, the names of the tensors in the order of the
type. Values cross the border as flat lists in that order.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.core.graphs import Graph, SerializedGraph


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


def serialized(comp: tff.Computation) -> SerializedGraph:
  """Returns the graph of `comp`, which must be a serialized TensorFlow computation."""
  proto = tff.framework.serialize_computation(comp).tensorflow
  graph_def = tf.compat.v1.GraphDef()
  proto.graph_def.Unpack(graph_def)
  names = [tuple(_tensor_names(binding)) for binding in (proto.parameter, proto.result)]
  return SerializedGraph(graph_def.SerializeToString(), *names, proto.initialize_op)


def tensors_of(graph: Graph, values: Sequence[tf.Tensor | SequenceValue]) -> list[tf.Tensor]:
  """Returns what a graph is fed, as `graph.specs` has it, of the flat values of its parameter, or of the first ones."""
  tensors = []
  for value, single_element in zip(values, graph.single_elements, strict=False):
    if not isinstance(value, SequenceValue):
      tensors.append(value)
    elif single_element:
      tensors += value.single_element()
    else:
      tensors.append(value.variant())
  return tensors


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
