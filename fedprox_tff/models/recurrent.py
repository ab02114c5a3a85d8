# SPDX-License-Identifier: Apache-2.0
"""Layers of networks that read text: an embedding, and LSTM layers (Hochreiter and Schmidhuber, 1997).

At each place t, with [a, b] for one vector behind the other,

    i, j, f, o = [x_t, h_(t-1)] kernel + bias
    c_t = sigmoid(f + 1) c_(t-1) + sigmoid(i) tanh(j)
    h_t = sigmoid(o) tanh(c_t)

in the order of the gates and with the forget bias of 1, added in use, of TensorFlow 1's BasicLSTMCell, which FedProx's
networks are made of. Kernels and embeddings start from Glorot's uniform distribution and biases from 0, as variables of
TensorFlow 1 do for which nobody chooses.

The gradient is our own. Automatic differentiation adds a product for the kernel's gradient at each place; here one
product over all places follows the loop. A step of `lstm` on ten texts of Shakespeare takes 38 ms of a core with XLA
and 50 without; with the other gradient it took 217 and 163.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fedprox_tff.core.task import Task
from fedprox_tff.core.tree import Weights
from fedprox_tff.models.base import Model, glorot_uniform, require_tokens

FORGET_BIAS = 1.0
_CHUNK = 256  # examples: an LSTM keeps all that it computed at each place
_LARGEST_ONE_HOT = 256  # tokens up to which a product is faster than the gradient of a lookup


def initial_layers(
  name: str, task: Task, rng: np.random.Generator, *, embedding_size: int, hidden_units: int, num_layers: int
) -> Iterator[np.ndarray]:
  """Yields the initial weights of the layers in their order: an embedding, then a kernel and a bias for each LSTM.

  There is no embedding where the task brings vectors.

  Args:
    name: The model's name.
    task: A task of texts.
    rng: What to draw from.
    embedding_size: Numbers in a token's vector, unless the task brings vectors.
    hidden_units: Of each LSTM.
    num_layers: How many LSTMs there are.

  Raises:
    ValueError: If the task's examples are no texts.
  """
  vocabulary, vectors = require_tokens(name, task), task.inputs.vectors
  if vectors is None:
    yield glorot_uniform(rng, (vocabulary, embedding_size))
  num_inputs = embedding_size if vectors is None else vectors.shape[1]
  for _ in range(num_layers):
    yield glorot_uniform(rng, (num_inputs + hidden_units, 4 * hidden_units))
    yield np.zeros(4 * hidden_units, np.float32)
    num_inputs = hidden_units


def model(
  name: str, task: Task, initial_weights: Weights, num_layers: int, head: Callable[[Weights, Any], Any]
) -> Model:
  """Returns a network of the layers of `initial_layers` and a head.

  It predicts from the last place's h, or from that of each place where an example has a label at each.

  Args:
    name: The model's name.
    task: A task of texts.
    initial_weights: Those of the layers, and behind them those of the head.
    num_layers: How many LSTMs there are.
    head: `(weights, h)` to logits [n, num_classes], from the head's weights and h [n, hidden units].
  """
  vectors = task.inputs.vectors
  frozen = () if vectors is None else (np.asarray(vectors, np.float32),)
  length, num_embeddings = task.input_shape[0], 1 - len(frozen)
  num_before_head = num_embeddings + 2 * num_layers

  def logits(weights, tokens):
    import tensorflow as tf

    embedding = weights[-1] if frozen else weights[0]
    h = hidden_states(embedding, weights[num_embeddings:num_before_head], tokens)
    head_weights = weights[num_before_head : len(initial_weights)]
    if not task.label_shape:
      return head(head_weights, h[-1])
    of_places = head(head_weights, tf.reshape(tf.transpose(h, [1, 0, 2]), [-1, h.shape[2]]))
    return tf.reshape(of_places, [-1, length, of_places.shape[1]])

  return Model(
    name,
    initial_weights,
    logits,
    logits,
    task.input_shape,
    jit_compile=True,
    frozen=frozen,
    chunk=_CHUNK,
    label_shape=task.label_shape,
  )


def hidden_states(embedding: Any, layers: Any, tokens: Any) -> Any:
  """Returns the last layer's h at each place, [length, batch, hidden units].

  Args:
    embedding: [vocabulary, size].
    layers: The kernel and the bias of each LSTM in turn.
    tokens: Of any whole type, [batch, length].
  """
  h = embed(embedding, tokens)
  for kernel, bias in zip(layers[::2], layers[1::2], strict=True):
    h = lstm_layer(h, kernel, bias)
  return h


def embed(embedding: Any, tokens: Any) -> Any:
  """Returns the tokens' vectors, [length, batch, size], of tokens [batch, length]."""
  import tensorflow as tf

  vocabulary, size = embedding.shape
  places = tf.transpose(tf.cast(tokens, tf.int32))
  if vocabulary > _LARGEST_ONE_HOT:
    return tf.gather(embedding, places)
  one_hot = tf.one_hot(tf.reshape(places, [-1]), vocabulary)
  return tf.reshape(one_hot @ embedding, [tokens.shape[1], tf.shape(tokens)[0], size])


def lstm_layer(x: Any, kernel: Any, bias: Any) -> Any:
  """Returns an LSTM's h at each place, [length, batch, units], from h = c = 0 before the first.

  Args:
    x: [length, batch, inputs], of a length that is known.
    kernel: [inputs + units, 4 units].
    bias: [4 units].
  """
  import tensorflow as tf

  @tf.custom_gradient
  def layer(x, kernel, bias):
    results = _forward(x, kernel, bias)
    return results[0], lambda d_h: _backward(x, kernel, results, d_h)

  return layer(x, kernel, bias)


def _forward(x, kernel, bias):
  """Returns h and c, [length, batch, units], and sigmoid(i), tanh(j), sigmoid(f + 1), sigmoid(o), [..., 4 units]."""
  import tensorflow as tf

  length, num_inputs, units = x.shape[0], x.shape[2], bias.shape[0] // 4
  batch = tf.shape(x)[1]
  from_h = kernel[num_inputs:]
  from_x = tf.reshape(tf.reshape(x, [-1, num_inputs]) @ kernel[:num_inputs] + bias, [length, batch, 4 * units])

  def step(t, state, arrays):
    h, c = state
    i, j, f, o = tf.split(tf.gather(from_x, t) + h @ from_h, 4, axis=1)
    i, j, f, o = tf.sigmoid(i), tf.tanh(j), tf.sigmoid(f + FORGET_BIAS), tf.sigmoid(o)
    c = f * c + i * j
    h = o * tf.tanh(c)
    gates = tf.concat([i, j, f, o], axis=1)
    return t + 1, (h, c), tuple(array.write(t, new) for array, new in zip(arrays, (h, c, gates), strict=True))

  zeros = tf.zeros([batch, units])
  arrays = tuple(tf.TensorArray(tf.float32, length, element_shape=[x.shape[1], n]) for n in (units, units, 4 * units))
  _, _, arrays = tf.while_loop(
    lambda t, *_: t < length,
    step,
    (tf.constant(0), (zeros, zeros), arrays),
    parallel_iterations=1,
    maximum_iterations=length,
  )
  return tuple(array.stack() for array in arrays)


def _backward(x, kernel, results, d_h):
  """Returns the gradients of x, the kernel and the bias.

  Args:
    x: As in `lstm_layer`.
    kernel: As in `lstm_layer`.
    results: What `_forward` has returned.
    d_h: The gradient of h.
  """
  import tensorflow as tf

  h, c, gates = results
  length, num_inputs, units = x.shape[0], x.shape[2], kernel.shape[1] // 4
  zeros = tf.zeros_like(h[:1])
  h_before, c_before = tf.concat([zeros, h[:-1]], axis=0), tf.concat([zeros, c[:-1]], axis=0)
  to_h = tf.transpose(kernel[num_inputs:])

  def step(t, state, array):
    d_h_t, d_c = state  # what the place behind has to say
    i, j, f, o = tf.split(tf.gather(gates, t), 4, axis=1)
    tanh_c = tf.tanh(tf.gather(c, t))
    d_h_t += tf.gather(d_h, t)
    d_c += d_h_t * o * (1 - tanh_c * tanh_c)
    d_i, d_j = d_c * j * i * (1 - i), d_c * i * (1 - j * j)
    d_f, d_o = d_c * tf.gather(c_before, t) * f * (1 - f), d_h_t * tanh_c * o * (1 - o)
    d_z = tf.concat([d_i, d_j, d_f, d_o], axis=1)
    return t - 1, (d_z @ to_h, d_c * f), array.write(t, d_z)

  array = tf.TensorArray(tf.float32, length, element_shape=[x.shape[1], 4 * units])
  _, _, array = tf.while_loop(
    lambda t, *_: t >= 0,
    step,
    (tf.constant(length - 1), (zeros[0], zeros[0]), array),
    parallel_iterations=1,
    maximum_iterations=length,
  )
  d_z = tf.reshape(array.stack(), [-1, 4 * units])
  d_kernel = [tf.matmul(tf.reshape(each, [-1, each.shape[2]]), d_z, transpose_a=True) for each in (x, h_before)]
  d_x = tf.matmul(d_z, kernel[:num_inputs], transpose_b=True)
  return tf.reshape(d_x, tf.shape(x)), tf.concat(d_kernel, axis=0), tf.reduce_sum(d_z, axis=0)
