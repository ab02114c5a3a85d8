# SPDX-License-Identifier: Apache-2.0
"""The local steps of the convolutional network in PyTorch, for `benchmarks.local_step`; runs where torch is.

    python _torch.py GIVEN.npz RESULT.npz THREADS

Takes the steps twice, and writes the time of the second go and its weights.
"""

import sys
import time

import numpy as np
import torch
from torch import nn

HEIGHT, WIDTH, CHANNELS, UNITS = 7, 7, 64, 512  # what the convolutions leave of an image of 28 x 28


def network() -> nn.Sequential:
  """Returns the network of fedprox_tff.models.cnn, with the channels first, as PyTorch has them."""
  return nn.Sequential(
    nn.Conv2d(1, 32, 5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, CHANNELS, 5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(HEIGHT * WIDTH * CHANNELS, UNITS),
    nn.ReLU(),
    nn.Linear(UNITS, 10),
  )


def to_torch(index: int, array: np.ndarray) -> torch.Tensor:
  """Turns the axes of one of our weights into PyTorch's order."""
  if array.ndim == 4:
    array = array.transpose(3, 2, 0, 1)
  elif index == 4:
    array = array.reshape(HEIGHT, WIDTH, CHANNELS, UNITS).transpose(3, 2, 0, 1).reshape(UNITS, -1)
  elif array.ndim == 2:
    array = array.T
  return torch.from_numpy(np.ascontiguousarray(array))


def from_torch(index: int, tensor: torch.Tensor) -> np.ndarray:
  """Turns the axes of one of PyTorch's weights into our order."""
  array = tensor.detach().numpy()
  if array.ndim == 4:
    return array.transpose(2, 3, 1, 0)
  if index == 4:
    return array.reshape(UNITS, CHANNELS, HEIGHT, WIDTH).transpose(2, 3, 1, 0).reshape(-1, UNITS)
  return array.T


def train(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, rate: float) -> float:
  """Takes the local steps and returns how long they took."""
  optimizer, loss = torch.optim.SGD(model.parameters(), lr=rate), nn.CrossEntropyLoss()
  start = time.perf_counter()
  for batch in rows:
    optimizer.zero_grad()
    loss(model(x[batch]), y[batch]).backward()
    optimizer.step()
  return time.perf_counter() - start


def main() -> None:
  """Takes the steps."""
  given, result, threads = sys.argv[1:]
  torch.set_num_threads(int(threads))
  arrays = np.load(given)
  model = network()
  names = [f'weight_{index}' for index, _ in enumerate(model.parameters())]
  x = torch.from_numpy(np.ascontiguousarray(arrays['x'].transpose(0, 3, 1, 2)))
  y, rows = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ('y', 'rows'))
  for _ in range(2):
    with torch.no_grad():
      for index, (name, parameter) in enumerate(zip(names, model.parameters(), strict=True)):
        parameter.copy_(to_torch(index, arrays[name]))
    seconds = train(model, x, y, rows, float(arrays['rate']))
  weights = {name: from_torch(i, w) for i, (name, w) in enumerate(zip(names, model.parameters(), strict=True))}
  np.savez(result, seconds=seconds, **weights)


if __name__ == '__main__':
  main()
