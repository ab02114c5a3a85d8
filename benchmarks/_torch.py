# SPDX-License-Identifier: Apache-2.0
"""Local steps of some of the networks in PyTorch, as one writes them there; runs where torch is.

    python _torch.py GIVEN.npz RESULT.npz THREADS

GIVEN has the examples as this suite has them, the rows of each step, the name of the network, and its weights in the
order and the layout of PyTorch. The steps are taken twice. RESULT gets the time of the second go, by the clock and of
the CPU, and its weights. `_for_torch` is the other side.
"""

import sys
import time

import numpy as np
import torch
from torch import nn


def cnn() -> nn.Module:
  """Returns `cnn` for MNIST."""
  return nn.Sequential(
    nn.Conv2d(1, 32, 5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(7 * 7 * 64, 512),
    nn.ReLU(),
    nn.Linear(512, 10),
  )


def vgg() -> nn.Module:
  """Returns `vgg` for CIFAR-100."""
  layers, inputs = [], 3
  for channels, is_pooled in ((32, True), (64, True), (128, False), (128, True), (256, False), (256, True)):
    layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if is_pooled else [])]
    inputs = channels
  return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * 2 * 256, 256), nn.ReLU(), nn.Linear(256, 100))


class Block(nn.Module):
  """Two convolutions, and the way around them."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.around = (
      nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(2, outputs))
      if stride == 2
      else nn.Identity()
    )
    self.through = nn.Sequential(
      nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
      nn.GroupNorm(2, outputs),
      nn.ReLU(),
      nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
      nn.GroupNorm(2, outputs),
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Returns the block's output."""
    return torch.relu(self.through(x) + self.around(x))


def resnet_cifar(depth: int) -> nn.Module:
  """Returns `resnet_cifar` for CIFAR-100, with two groups."""
  blocks, inputs = [], 16
  for stage, width in enumerate((16, 32, 64)):
    for block in range((depth - 2) // 6):
      blocks.append(Block(inputs, width, 2 if stage and not block else 1))
      inputs = width
  stem = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.GroupNorm(2, 16), nn.ReLU()
  return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 100))


class Texts(nn.Module):
  """An embedding, LSTMs, and dense layers on the last place's h."""

  def __init__(self, embedding: nn.Embedding, units: int, head: nn.Module):
    super().__init__()
    self.embedding = embedding
    self.lstms = nn.LSTM(embedding.embedding_dim, units, num_layers=2, batch_first=True)
    self.head = head
    for name, parameter in self.lstms.named_parameters():
      if name.startswith('bias_hh'):  # PyTorch has two biases where one is enough
        parameter.requires_grad_(False)
        nn.init.zeros_(parameter)

  def forward(self, tokens: torch.Tensor) -> torch.Tensor:
    """Returns logits."""
    return self.head(self.lstms(self.embedding(tokens))[0][:, -1])


def lstm() -> nn.Module:
  """Returns `lstm` for Shakespeare."""
  return Texts(nn.Embedding(80, 8), 256, nn.Linear(256, 80))


def lstm_sentiment(vectors: np.ndarray) -> nn.Module:
  """Returns `lstm_sentiment` for Sent140, with words' vectors that do not learn."""
  head = nn.Sequential(nn.Linear(100, 30), nn.Linear(30, 1), nn.Flatten(0))
  return Texts(nn.Embedding.from_pretrained(torch.from_numpy(vectors)), 100, head)


def network(name: str, arrays: dict[str, np.ndarray]) -> nn.Module:
  """Returns the network of a name, such as 'resnet_cifar 20'."""
  name, *depth = name.split()
  arguments = {'resnet_cifar': map(int, depth), 'lstm_sentiment': (arrays.get('vectors'),)}.get(name, ())
  return {f.__name__: f for f in (cnn, vgg, resnet_cifar, lstm, lstm_sentiment)}[name](*arguments)


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
  """Returns the parameters that learn, in the order of the layers."""
  return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, rate: float) -> tuple[float, float]:
  """Takes the local steps, and returns how long they took: by the clock, and of the CPU."""
  optimizer = torch.optim.SGD(parameters_of(model), lr=rate)
  loss = nn.BCEWithLogitsLoss() if y.is_floating_point() else nn.CrossEntropyLoss()
  start, cpu_start = time.perf_counter(), time.process_time()
  for batch in rows:
    optimizer.zero_grad()
    loss(model(x[batch]), y[batch]).backward()
    optimizer.step()
  return time.perf_counter() - start, time.process_time() - cpu_start


def main() -> None:
  """Takes the steps."""
  given, result, threads = sys.argv[1:]
  torch.set_num_threads(int(threads))
  arrays = dict(np.load(given))
  name = str(arrays['network'])
  model = network(name, arrays)
  x, y, rows = (torch.from_numpy(arrays[key].copy()) for key in ('x', 'y', 'rows'))
  x = x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x.long()
  y, rows = y.float() if name == 'lstm_sentiment' else y.long(), rows.long()
  for _ in range(2):
    with torch.no_grad():
      for index, parameter in enumerate(parameters_of(model)):
        parameter.copy_(torch.from_numpy(arrays[f'weight_{index}']))
    seconds, cpu_seconds = train(model, x, y, rows, float(arrays['rate']))
  weights = {f'weight_{index}': w.detach().numpy() for index, w in enumerate(parameters_of(model))}
  np.savez(result, seconds=seconds, cpu_seconds=cpu_seconds, **weights)


if __name__ == '__main__':
  main()
