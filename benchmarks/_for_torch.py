# SPDX-License-Identifier: Apache-2.0
"""This suite's networks in PyTorch: weights in its layout, and the process that takes local steps there."""

import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import Examples

_PROGRAM = pathlib.Path(__file__).with_name('_torch.py')


class Steps(NamedTuple):
  """What came of local steps in PyTorch."""

  seconds: float  # by the clock
  cpu_seconds: float
  weights: list[np.ndarray]  # in its layout


def take_steps(
  python: str,
  network: str,
  weights: list[np.ndarray],
  examples: Examples,
  rows: np.ndarray,
  *,
  learning_rate: float,
  threads: int,
  vectors: np.ndarray | None = None,
) -> Steps:
  """Takes local steps in a process of another interpreter.

  Args:
    python: The interpreter, which has torch.
    network: One of `LAYOUTS`; behind that of `resnet_cifar` stands its depth.
    weights: The first ones, in PyTorch's layout.
    examples: As this suite has them.
    rows: Of each step, [steps, batch].
    learning_rate: Of plain SGD.
    threads: PyTorch's.
    vectors: Of words, for networks that are given them.
  """
  arrays = {f'weight_{index}': array for index, array in enumerate(weights)}
  if vectors is not None:
    arrays['vectors'] = vectors
  with tempfile.TemporaryDirectory() as folder:
    given, result = pathlib.Path(folder) / 'given.npz', pathlib.Path(folder) / 'result.npz'
    np.savez(given, **examples._asdict(), rows=rows, rate=learning_rate, network=network, **arrays)
    subprocess.run([python, str(_PROGRAM), str(given), str(result), str(threads)], check=True)
    with np.load(result) as taken:
      last = [taken[f'weight_{index}'] for index, _ in enumerate(weights)]
      return Steps(float(taken['seconds']), float(taken['cpu_seconds']), last)


def _dense(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
  return [kernel.T, bias]


def _convolution(kernel: np.ndarray) -> np.ndarray:
  return kernel.transpose(3, 2, 0, 1)


def _flattened(kernel: np.ndarray, channels: int) -> np.ndarray:
  """Returns the kernel of a dense layer on a flattened image, whose channels come first in PyTorch."""
  side = round((len(kernel) // channels) ** 0.5)
  return kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)


def _images(weights: Weights) -> list[np.ndarray]:
  """Arranges convolutions with biases, and two dense layers behind them."""
  *convolutions, kernel_1, bias_1, kernel_2, bias_2 = map(np.asarray, weights)
  arranged = [_convolution(w) if w.ndim == 4 else w for w in convolutions]
  return [*arranged, *_dense(_flattened(kernel_1, len(convolutions[-1])), bias_1), *_dense(kernel_2, bias_2)]


def _residual(weights: Weights) -> list[np.ndarray]:
  """Arranges a residual network: the way around a block comes first in PyTorch's order."""
  *layers, kernel, bias = map(np.asarray, weights)
  triples = [[_convolution(layers[i]), *layers[i + 1 : i + 3]] for i in range(0, len(layers), 3)]
  arranged, rest = [triples[0]], triples[1:]
  while rest:
    count = 3 if len(rest) > 2 and rest[2][0].shape[-1] == 1 else 2
    block, rest = rest[:count], rest[count:]
    arranged += [*block[2:], *block[:2]]
  return [*(array for triple in arranged for array in triple), *_dense(kernel, bias)]


def lstm_weights(layers: Weights) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Yields the kernel of the inputs, that of h, and the bias of each LSTM, as Keras and PyTorch have them.

  Their gates stand in another order, and they add no 1 to the forget gate's bias.
  """
  for kernel, bias in zip(layers[::2], layers[1::2], strict=True):
    (i, j, f, o), (b_i, b_j, b_f, b_o) = (np.split(np.asarray(array), 4, axis=-1) for array in (kernel, bias))
    both, units = np.concatenate([i, f, j, o], axis=1), len(bias) // 4
    yield both[:-units], both[-units:], np.concatenate([b_i, b_f + 1, b_j, b_o])


def _lstms(layers: list[np.ndarray]) -> list[np.ndarray]:
  return [array.T for weights in lstm_weights(layers) for array in weights]


def _letters(weights: Weights) -> list[np.ndarray]:
  embedding, *layers, kernel, bias = map(np.asarray, weights)
  return [embedding, *_lstms(layers), *_dense(kernel, bias)]


def _tweets(weights: Weights) -> list[np.ndarray]:
  *layers, kernel_1, bias_1, kernel_2, bias_2 = map(np.asarray, weights)
  return [*_lstms(layers), *_dense(kernel_1, bias_1), *_dense(kernel_2, bias_2)]


# From a model's weights that learn to PyTorch's parameters, by the model's name.
LAYOUTS: Mapping[str, Callable[[Weights], list[np.ndarray]]] = {
  'cnn': _images,
  'vgg': _images,
  'resnet_cifar': _residual,
  'lstm': _letters,
  'lstm_sentiment': _tweets,
}
