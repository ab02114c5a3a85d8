# SPDX-License-Identifier: Apache-2.0
"""A Keras model as a pure function of its weights.

Keras's layers keep their weights as attributes. While the function runs, the attributes hold the given tensors. Not
possible, and refused in one line, are

  - layers that do something else in training than in evaluation, such as batch normalisation and dropout, since Keras
    keeps their statistics and their random numbers to itself. Layer and group normalisation are possible;
  - regularisation losses, which this suite's loss does not have;
  - weights that are not float32, or not attributes of the layers that use them.

Weights that do not train, such as those of a layer with `trainable = False`, are shared by all clients as they are.
"""

import collections
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Model

_CHUNK = 256  # examples at a time: nobody knows how much memory the network needs


def functional_model(name: str, keras_model: Any, task: Task) -> Model:
  """Returns a Keras model, which has its weights, as a `Model` with the same initial weights.

  Args:
    name: The `Model`'s.
    keras_model: A `tf.keras.Model` that gives logits; whether it is compiled does not matter.
    task: What it is for.

  Raises:
    ValueError: If that is not possible, or the model does not fit the task.
  """
  import tensorflow as tf

  modules = [keras_model, *keras_model.submodules]
  trainable, frozen = keras_model.trainable_weights, keras_model.non_trainable_weights
  if not trainable:
    raise ValueError('None of its weights trains.')
  _check_weights(keras_model)
  _check_training(keras_model, modules, task)
  call = _caller(keras_model, modules, [*trainable, *frozen])

  def logits(weights, x):
    return call(weights, tf.cast(x, input_type(task)))

  _check_logits(logits, [*trainable, *frozen], task)
  norms = (tf.keras.layers.LayerNormalization, tf.keras.layers.GroupNormalization)
  owned = {id(variable) for module in modules if isinstance(module, norms) for variable in module.weights}
  normalisation = tuple(id(variable) in owned for variable in trainable)
  return Model(
    name,
    tuple(variable.numpy() for variable in trainable),
    logits,
    logits,
    task.input_shape,
    jit_compile=False,
    normalisation=normalisation if any(normalisation) else (),
    head=_head(keras_model, trainable),
    frozen=tuple(variable.numpy() for variable in frozen),
    autograph=True,
    chunk=_CHUNK,
    label_shape=task.label_shape,
  )


def _head(keras_model: Any, trainable: Sequence[Any]) -> tuple[bool, ...]:
  """Returns for each variable that learns whether it is of the layer that has the last of them."""
  layers = [module for module in keras_model.submodules if any(v is trainable[-1] for v in vars(module).values())]
  owned = {id(variable) for layer in layers for variable in layer.trainable_weights} or {id(trainable[-1])}
  return tuple(id(variable) in owned for variable in trainable)


def input_type(task: Task) -> str:
  """Returns the type of what the Keras model sees."""
  return 'int32' if task.inputs.kind in ('tokens', 'graphs') else 'float32'


def _caller(keras_model: Any, modules: Iterable[Any], variables: Sequence[Any]) -> Callable[[Sequence[Any], Any], Any]:
  """Returns the model as a function of the values of its variables and x."""
  places = {id(variable): i for i, variable in enumerate(variables)}
  held = [
    (vars(module), attribute, places[id(value)])
    for module in modules
    for attribute, value in vars(module).items()
    if id(value) in places
  ]
  lock = threading.RLock()

  def call(weights, x):
    with lock:
      for attributes, attribute, i in held:
        attributes[attribute] = weights[i]
      try:
        return keras_model(x, training=False)
      finally:
        for attributes, attribute, i in held:
          attributes[attribute] = variables[i]

  return call


def _check_weights(keras_model: Any) -> None:
  """Refuses weights of other types, and losses of the weights alone.

  Raises:
    ValueError: If there are any.
  """
  if keras_model.losses:
    raise ValueError('The loss is cross-entropy alone; its regularisation losses would be lost.')
  for variable in keras_model.weights:
    if variable.dtype != 'float32':
      raise ValueError(f'Its weight {variable.name} is {variable.dtype.name}; float32 is needed.')


def _check_training(keras_model: Any, modules: Iterable[Any], task: Task) -> None:
  """Refuses layers that are no functions of their weights and their input, by TensorFlow's operations that they make.

  Raises:
    ValueError: If there are any.
  """
  training, evaluation = (_operations(keras_model, task, training) for training in (True, False))
  differing = [*(training - evaluation), *(evaluation - training)]
  if differing:
    raise ValueError(
      f'{_layer_of(differing, modules)} does something else in training than in evaluation, as batch normalisation and '
      'dropout do; layer and group normalisation are possible, dropout is not.'
    )
  drawn = [operation for operation in evaluation if 'Random' in operation[1]]
  if drawn:
    raise ValueError(f'{_layer_of(drawn, modules)} draws at random.')


def _operations(keras_model: Any, task: Task, training: bool) -> collections.Counter[tuple[str, str]]:
  """Counts the names and kinds of TensorFlow's operations; those within functions, such as loops, without a name."""
  import tensorflow as tf

  spec = tf.TensorSpec([None, *task.input_shape], input_type(task))
  graph = tf.function(lambda x: keras_model(x, training=training)).get_concrete_function(spec).graph
  definition = graph.as_graph_def()
  outer = [(re.sub(r'/\d+\b', '', node.name), node.op) for node in definition.node]  # a look-up's number is always new
  inner = [('', node.op) for each in definition.library.function for node in each.node_def]
  return collections.Counter(outer + inner)


def _layer_of(operations: Iterable[tuple[str, str]], modules: Iterable[Any]) -> str:
  """Returns which layer operations are of: their names have that of their layer in them."""
  kinds = {module.name: type(module).__name__ for module in modules if hasattr(module, 'call')}
  for name, _ in operations:
    for part in reversed(name.split('/')):
      if part in kinds:
        return f'Its layer {part} ({kinds[part]})'
  return 'A layer of it'


def _check_logits(logits: Callable[..., Any], variables: Sequence[Any], task: Task) -> None:
  """Refuses a model that does not give logits, or that uses variables in ways that cannot be seen.

  Raises:
    ValueError: If so.
  """
  import tensorflow as tf

  specs = tuple(tf.TensorSpec(variable.shape, variable.dtype) for variable in variables)
  spec = tf.TensorSpec([None, *task.input_shape], input_type(task))
  traced = tf.function(logits).get_concrete_function(specs, spec)
  if any(tensor.dtype == tf.resource for tensor in traced.captured_inputs):
    names = ', '.join(variable.name for variable in traced.graph.variables) or 'table'
    raise ValueError(f'Its {names} would have to be an attribute of the layer that uses it.')
  output, needed = traced.structured_outputs, (None, *task.label_shape, task.num_classes)
  if not isinstance(output, tf.Tensor | tf.TensorSpec):
    raise ValueError(f'Its output is a {type(output).__name__}; one tensor of logits is needed.')
  shape = None if output.shape.rank is None else tuple(output.shape)
  if shape is None or shape[1:] != needed[1:] or output.dtype != tf.float32:
    raise ValueError(f'Its output is {output.dtype.name} of shape {shape}; float32 of shape {needed} is needed.')
  operation = traced.outputs[0].op
  while operation.type in ('Identity', 'Reshape'):
    operation = operation.inputs[0].op
  if operation.type in ('Softmax', 'Sigmoid'):
    raise ValueError(f'Its output is that of a {operation.type.lower()}; logits are needed.')
