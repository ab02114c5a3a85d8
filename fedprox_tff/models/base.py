# SPDX-License-Identifier: Apache-2.0
"""A classifier as pure functions of its weights, and the architecture that makes one for a data set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedprox_tff.core.task import Task
from fedprox_tff.core.tree import Weights


class Model(NamedTuple):
  """A classifier with cross-entropy loss.

  `weights` are the trainable ones, and behind them those of `frozen`.

  Attributes:
    name: The name on the command line.
    initial_weights: One float32 array for each trainable variable, drawn from the run's seed.
    logits: `(weights, x)` to logits in TensorFlow operations: [batch, num_classes], or [batch, length, num_classes]
      where an example has a label at each of its places.
    step_logits: The same function in the operations that are the fastest for the few examples of a local step.
    input_shape: The shape of one example's features.
    jit_compile: Whether XLA makes a local step faster on a CPU. It halves the step of small dense models; TensorFlow's
      own convolutions are far faster than XLA's there.
    normalisation: For each weight whether a normalisation layer owns it: scale gamma, shift beta and the running
      statistics, which are weights like all others, of gradient zero. Empty: the model has no such layer.
    statistics: The places in the weights of the running statistics.
    train_logits: `(weights, x, mask, key)` to the logits that a local step sees, where normalisation is by the batch's
      own statistics and units drop out, and to the new values of the running statistics by their place in the weights.
      `mask`, float [batch], is 1 for examples and 0 for padding. `key`, int32 [2], is the step's own: all that it draws
      at random it draws from it, by `core.draws`. None: `step_logits`, and nothing that runs.
    component_logits: Of a mixture of M models: `(weights, x)` to their logits, [batch, M, num_classes].
    draws: Whether `train_logits` draws anything at random. If not, its `key` is None.
    frozen: Weights that do not learn and that all clients share, such as vectors of words.
    task_layers: For each trainable weight whether it belongs to the layers that a client's own task needs, the first
      and the last ones, where clients do not predict the same. Empty: the model does not tell.
    head: For each trainable weight whether it belongs to the last layer, kernel and bias. Empty: the last two do.
    joint_logits: `(weights, x)` to the logits of M models at once, [batch, M, num_classes]. Each weight that learns has
      an axis of M in front, and those of `frozen` have none. None: that would be no faster than one after another.
    autograph: Whether its code has Python's ifs and loops over tensors, which TensorFlow then has to translate
      (AutoGraph). To find out that there are none takes a second, so it is asked for only where a user's own code may
      have some.
    chunk: How many examples go through the network at a time where no gradient step follows: what bounds its memory.
    input_type: numpy's name of the type of x.
    label_shape: The shape of one example's labels, as in `Task`.
  """

  name: str
  initial_weights: Weights
  logits: Callable[[Weights, Any], Any]
  step_logits: Callable[[Weights, Any], Any]
  input_shape: tuple[int, ...]
  jit_compile: bool
  normalisation: tuple[bool, ...] = ()
  statistics: frozenset[int] = frozenset()
  train_logits: Callable[[Weights, Any, Any, Any], tuple[Any, Mapping[int, Any]]] | None = None
  component_logits: Callable[[Weights, Any], Any] | None = None
  draws: bool = False
  frozen: Weights = ()
  task_layers: tuple[bool, ...] = ()
  head: tuple[bool, ...] = ()
  joint_logits: Callable[[Weights, Any], Any] | None = None
  autograph: bool = False
  chunk: int = 1024
  input_type: str = 'float32'
  label_shape: tuple[int, ...] = ()


def head_of(model: Model) -> tuple[bool, ...]:
  """Returns for each trainable weight of a model whether it belongs to the last layer."""
  num_others = max(0, len(model.initial_weights) - 2)
  return model.head or (*(False,) * num_others, *(True,) * (len(model.initial_weights) - num_others))


def has_features(model: Model) -> bool:
  """Returns whether a model gives one vector z for each example to its last layer z kernel + bias, behind others."""
  shapes = [w.shape for w, own in zip(model.initial_weights, head_of(model), strict=True) if own]
  is_dense = list(map(len, shapes)) == [2, 1] and shapes[0][1:] == shapes[1]
  is_one_answer = model.component_logits is None and not model.label_shape
  return is_dense and is_one_answer and not all(head_of(model))


def layers_of(model: Model) -> dict[str, tuple[bool, ...]]:
  """Returns of which kinds of layers each trainable weight of a model is, by the names that a method has for them."""
  none = (False,) * len(model.initial_weights)
  return {
    'normalisation': model.normalisation or none,
    'task_layers': model.task_layers or none,
    'head': head_of(model),
  }


class Architecture(NamedTuple):
  """A model that a run chooses by name, before the data are known.

  Attributes:
    name: The name on the command line.
    title: What figures and captions call it.
    build: `(task, *, seed)` to the `Model` for a `Task`, with initial weights that are drawn from the run's seed. It
      raises `ValueError` if the task's examples do not fit.
  """

  name: str
  title: str
  build: Callable[..., Model]


def require_images(name: str, task: Task) -> tuple[int, int, int]:
  """Returns the height, the width and the channels of a task's images.

  Raises:
    ValueError: If its examples are no images.
  """
  if len(task.input_shape) != 3 or task.inputs.kind in ('tokens', 'graphs'):
    raise ValueError(
      f'The model {name} needs images (height, width, channels), not {_what(task)} of shape {task.input_shape}.'
    )
  return task.input_shape


def require_tokens(name: str, task: Task) -> int:
  """Returns the size of the vocabulary of a task's texts.

  Raises:
    ValueError: If its examples are no texts.
  """
  if task.inputs.kind != 'tokens':
    raise ValueError(f'The model {name} needs text, places in a vocabulary, not {_what(task)}.')
  return task.inputs.vocabulary


def require_numbers(name: str, task: Task) -> None:
  """Refuses examples that are not vectors of measurements.

  Raises:
    ValueError: If so.
  """
  if task.inputs.kind in ('tokens', 'graphs'):
    raise ValueError(f'The model {name} needs measurements or images, not {_what(task)}.')


def _what(task: Task) -> str:
  return {'tokens': 'text', 'graphs': 'graphs'}.get(task.inputs.kind, 'features')


def glorot_uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
  """Draws a kernel from U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010), in float32.

  Args:
    rng: The generator to draw from.
    shape: The kernel's shape, [..., inputs, outputs]; leading axes are the receptive field of a convolution.
  """
  receptive_field = int(np.prod(shape[:-2]))
  limit = np.sqrt(6 / (receptive_field * (shape[-2] + shape[-1])))
  return rng.uniform(-limit, limit, shape).astype(np.float32)
