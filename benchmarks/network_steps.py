# SPDX-License-Identifier: Apache-2.0
"""CPU time of a local step and of an evaluation, for the networks of all tasks.

    python -m benchmarks.network_steps [--networks=cnn,lstm] [--torch_python=PATH] [--all] [--xla] [--turns=3]

Each network has examples of its task's shape, made of noise, and its task's batch size. It takes local steps with
TensorFlow's kernels and with XLA, as client work of a process, and as Keras' own layers with `fit` where these make the
same network. With an interpreter that has PyTorch (`pip install torch`, in an environment of its own), some networks
take theirs there too. From the same weights, on the same batches, all must end at the same weights. They take turns,
and of each the fastest counts: what a go of many steps takes longer than one of a single step, so that a round's start
is left out.

The clock is that of the process's CPU, and TensorFlow has one thread for an operation, so that other work on the
machine is not counted. It still slows this one, by a share of the caches: ratios within a row are worth more than
milliseconds.

XLA takes minutes of convolutional networks, which it makes many times slower: it is left out there unless --xla is
given. ResNet-18 takes seconds a step, and is left out unless --all is given. XLA cannot compile `gin`, which computes
with as many nodes as a batch happens to have.
"""

import argparse
import collections
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf
import tensorflow_federated as tff

from benchmarks import _for_torch
from benchmarks._timing import Measured, print_table
from fedprox_tff.algorithms import fedavg
from fedprox_tff.core import streams
from fedprox_tff.core.task import Inputs, Task
from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.models import MODELS, Model
from fedprox_tff.models.preparation import prepared

KEY = (0, 1, 0)  # seed, round and client: what names the order of the batches
LEARNING_RATE = 0.01
EVALUATED = 2  # chunks of an evaluation
NODES = 30  # of a graph, the mean of the largest set of molecules
IN_PYTORCH = 2  # steps that are compared: after many, the last bits decide which of two pixels max pooling takes
DEVIATION_IN_PYTORCH = 0.001
DEVIATION = 0.02  # of the updates of two that take the same steps, as a share of the update


class Network(NamedTuple):
  """A network, and the task that it is measured at."""

  model: str
  task: Task
  batch_size: int
  steps: int  # of a go: about half a second of one core
  flags: Mapping[str, Any] = {}
  layers: Callable[[], list[Any]] | None = None  # Keras' layers that make the same network
  to_keras: Callable[[Weights], list[np.ndarray]] = list  # our weights as those layers have them
  xla: bool = False  # whether XLA compiles it in seconds
  compiles: bool = True
  dear: bool = False

  def build(self) -> Model:
    """Returns the model, as a run has it."""
    model = MODELS[self.model](**self.flags).build(self.task, seed=0)
    return prepared(model, self.task.inputs, input_shape=self.task.input_shape, input_type=self.input_type)

  @property
  def input_type(self) -> str:
    """The type that the task's data set has."""
    return {'tokens': 'int32', 'graphs': 'int16'}.get(self.task.inputs.kind, 'float32')

  def examples(self, count: int) -> Examples:
    """Draws examples of the task's shape."""
    rng, shape = np.random.default_rng(0), (count, *self.task.input_shape)
    y = rng.integers(0, self.task.num_classes, count, np.int32)
    if self.task.inputs.kind == 'graphs':
      x = np.zeros(shape, self.input_type)
      x[:, :NODES, 0] = rng.integers(1, self.task.inputs.vocabulary, (count, NODES))
      x[:, 1:NODES, 1] = np.arange(1, NODES)  # chains: places count from 1
      x[:, : NODES - 1, 2] = np.arange(2, NODES + 1)
      return Examples(x, y)
    if self.task.inputs.kind == 'tokens':
      return Examples(rng.integers(1, self.task.inputs.vocabulary, shape, self.input_type), y)
    return Examples(rng.standard_normal(shape, np.float32), y)


def cnn_layers() -> list[Any]:
  """Returns Keras' layers of `cnn` for MNIST."""
  layers, network = tf.keras.layers, []
  for channels in (32, 64):
    network += [layers.Conv2D(channels, 5, padding='same', activation='relu'), layers.MaxPool2D(padding='same')]
  return [*network, layers.Flatten(), layers.Dense(512, activation='relu'), layers.Dense(10)]


def vgg_layers() -> list[Any]:
  """Returns Keras' layers of `vgg` for CIFAR-100."""
  layers, network = tf.keras.layers, []
  for channels, pooled in ((32, True), (64, True), (128, False), (128, True), (256, False), (256, True)):
    network.append(layers.Conv2D(channels, 3, padding='same', activation='relu'))
    if pooled:
      network.append(layers.MaxPool2D(padding='same'))
  return [*network, layers.Flatten(), layers.Dense(256, activation='relu'), layers.Dense(100)]


def lstm_layers() -> list[Any]:
  """Returns Keras' layers of `lstm` for Shakespeare."""
  layers = tf.keras.layers
  return [layers.Embedding(80, 8), layers.LSTM(256, return_sequences=True), layers.LSTM(256), layers.Dense(80)]


def lstm_to_keras(weights: Weights) -> list[np.ndarray]:
  """Arranges the weights of `lstm` as Keras has them."""
  embedding, *layers, output, output_bias = weights
  return [embedding, *(array for triple in _for_torch.lstm_weights(layers) for array in triple), output, output_bias]


def networks() -> dict[str, Network]:
  """Returns what is measured, by name."""
  digits, writers, colours = Task((28, 28, 1), 10), Task((28, 28, 1), 62), Task((32, 32, 3), 100)
  letters = Task((80,), 80, Inputs('tokens', vocabulary=80))
  vectors = np.random.default_rng(0).standard_normal((20_000, 300), np.float32)
  tweets = Task((25,), 2, Inputs('tokens', vocabulary=len(vectors), vectors=vectors))
  molecules = Task((111, 7), 2, Inputs('graphs', vocabulary=55))
  return {
    'cnn': Network('cnn', digits, 10, 40, layers=cnn_layers),
    'convnet2': Network('convnet2', writers, 10, 15),
    'fedbn_cnn': Network('fedbn_cnn', Task((28, 28, 3), 10), 32, 5),
    'moon_cnn': Network('moon_cnn', Task((32, 32, 3), 10), 10, 100),
    'vgg': Network('vgg', colours, 20, 15, layers=vgg_layers),
    'resnet_cifar 8': Network('resnet_cifar', colours, 20, 15, {'depth': 8}),
    'resnet_cifar 20': Network('resnet_cifar', colours, 20, 6, {'depth': 20}),
    'resnet18': Network('resnet18', Task((24, 24, 3), 100), 64, 2, dear=True),
    'lstm': Network('lstm', letters, 10, 10, layers=lstm_layers, to_keras=lstm_to_keras, xla=True),
    'lstm_sentiment': Network('lstm_sentiment', tweets, 10, 60, xla=True),
    'gin': Network('gin', molecules, 64, 60, compiles=False),
  }


class Contender(NamedTuple):
  """A way to take local steps."""

  take: Callable[[int], Measured]  # takes so many steps from the first weights; its result are the last ones
  steps: int  # of a go


def ours(network: Network, examples: Examples, *, xla: bool) -> Callable[[int], Measured]:
  """Returns a round of this suite's process with one client, whose examples lie where a run has them."""
  model = network.build()._replace(jit_compile=xla)
  process = build_process(fedavg(), model, client_optimizer=tff.learning.optimizers.build_sgdm(LEARNING_RATE))
  state = process.initialize()
  arrays = collections.OrderedDict((name, tf.constant(array)) for name, array in examples._asdict().items())
  rows = range(len(examples.y))

  def take(steps: int) -> Measured:
    payload = client_payload(arrays, num_epochs=1, batch_size=network.batch_size, key=KEY, num_steps=steps, rows=rows)
    seconds, (after, _) = cpu_timed(process.next, state, [payload])
    return Measured(seconds, [np.asarray(w) for w in process.get_model_weights(after).trainable])

  return take


def order_of(count: int) -> np.ndarray:
  """Returns the rows of examples in the order of the batches, as client_payload draws it."""
  return streams.generator('shuffle', *KEY).permuted(np.arange(count, dtype=np.int32))


def keras(network: Network, examples: Examples) -> Callable[[int], Measured]:
  """Returns Keras' `fit` of its own layers."""
  layers = tf.keras.Sequential([tf.keras.layers.InputLayer(examples.x.shape[1:]), *network.layers()])
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  layers.compile(tf.keras.optimizers.SGD(LEARNING_RATE), loss)
  first = network.to_keras(network.build().initial_weights)
  order = order_of(len(examples.y))
  x, y = (array[order] for array in examples)

  def fit(count: int) -> None:
    layers.fit(x[:count], y[:count], batch_size=network.batch_size, shuffle=False, verbose=0)

  def take(steps: int) -> Measured:
    layers.set_weights(first)
    return Measured(cpu_timed(fit, steps * network.batch_size).seconds, layers.get_weights())

  return take


def pytorch(name: str, network: Network, examples: Examples, python: str) -> Callable[[int], Measured]:
  """Returns the network in PyTorch, in a process of its own."""
  first = _for_torch.LAYOUTS[network.model](network.build().initial_weights)
  order = order_of(len(examples.y)).reshape(-1, network.batch_size)

  def take(steps: int) -> Measured:
    taken = _for_torch.take_steps(
      python,
      name,
      first,
      examples,
      order[:steps],
      learning_rate=LEARNING_RATE,
      threads=1,
      vectors=network.task.inputs.vectors,
    )
    return Measured(taken.cpu_seconds, taken.weights)

  return take


def cpu_timed(function: Callable[..., Any], *arguments: Any) -> Measured:
  """Calls a function; the seconds are the CPU time that all threads of this process spend."""
  start = time.process_time()
  result = function(*arguments)
  return Measured(time.process_time() - start, result)


def measure_steps(contenders: Mapping[str, Contender], turns: int) -> dict[str, float]:
  """Returns the seconds of a step of each contender, which take turns; a first turn compiles."""
  goes = collections.defaultdict(list)
  for turn in range(1 + turns):
    for name, (take, steps) in contenders.items():
      for count in (1, 1 + steps):
        measured = take(count)
        if turn:
          goes[name, count].append(measured.seconds)
  return {name: (min(goes[name, 1 + steps]) - min(goes[name, 1])) / steps for name, (_, steps) in contenders.items()}


def measure_evaluation(network: Network, turns: int) -> float:
  """Returns how many examples are evaluated in a CPU second, at the model's chunk."""
  model = network.build()
  count = EVALUATED * model.chunk
  evaluate = functools.partial(Evaluator(model, network.examples(count)), model.initial_weights)
  evaluate()
  return count / min(cpu_timed(evaluate).seconds for _ in range(turns))


def check(network: Network, contenders: Mapping[str, Contender]) -> None:
  """Makes sure that all take the same steps: their updates are those of the first to float tolerance."""
  steps = 1 + min(contender.steps for contender in contenders.values())
  first = network.build().initial_weights
  layouts = {'Keras': network.to_keras, 'PyTorch': _for_torch.LAYOUTS.get(network.model)}
  for name, (take, _) in contenders.items():
    arrange = layouts.get(name, list)
    count, most = (IN_PYTORCH, DEVIATION_IN_PYTORCH) if name == 'PyTorch' else (steps, DEVIATION)
    own = contenders['TensorFlow'].take(count).result
    expected, update = _update(arrange(own), arrange(first)), _update(take(count).result, arrange(first))
    apart = np.linalg.norm(update - expected) / np.linalg.norm(expected)
    if not apart < most:
      sys.exit(f'{network.model}, {name}: the update differs from the first by {apart:.1%} of its norm')


def _update(last: Weights, first: Weights) -> np.ndarray:
  return np.concatenate([np.ravel(a - b) for a, b in zip(last, first, strict=True)])


def rows(
  chosen: Mapping[str, Network], *, turns: int, xla: bool, quick: bool, torch_python: str | None
) -> Iterator[tuple[str, ...]]:
  """Yields a row for each network."""
  for name, network in chosen.items():
    steps = 2 if quick else network.steps
    examples = network.examples(network.batch_size * (1 + steps))
    with runtimes.use('in_process'):  # one for each network: it keeps what it has compiled
      contenders = {'TensorFlow': Contender(ours(network, examples, xla=False), steps)}
      if network.xla or (xla and network.compiles):
        contenders['XLA'] = Contender(ours(network, examples, xla=True), steps if network.xla else 1)
      if network.layers:
        contenders['Keras'] = Contender(keras(network, examples), steps)
      if torch_python and network.model in _for_torch.LAYOUTS:
        contenders['PyTorch'] = Contender(pytorch(name, network, examples, torch_python), steps)
      seconds = measure_steps(contenders, turns)
      check(network, contenders)
    model = network.build()
    own = 'XLA' if model.jit_compile else 'TensorFlow'

    def times(contender: str, base: str, seconds: Mapping[str, float] = seconds) -> str:
      return f'{seconds[contender] / seconds[base]:.2f}' if contender in seconds else ''

    yield (
      *(name, str(network.batch_size), own),
      *(f'{seconds[contender] * 1e3:.1f}' if contender in seconds else '' for contender in ('TensorFlow', 'XLA')),
      *(times('XLA', 'TensorFlow'), times('Keras', own), times('PyTorch', own)),
      *(f'{measure_evaluation(network, turns):,.0f}', f'{model.chunk:,}'),
    )


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  known = networks()
  usual = [name for name, network in known.items() if not network.dear]
  parser.add_argument('--networks', help=f'some of {",".join(known)}')
  parser.add_argument('--torch_python', metavar='PATH', help='an interpreter that has PyTorch')
  parser.add_argument('--all', action='store_true', help='ResNet-18 too')
  parser.add_argument('--xla', action='store_true', help='convolutional networks with XLA too, which takes minutes')
  parser.add_argument('--turns', type=int, default=3, help='the best of so many counts')
  parser.add_argument('--quick', action='store_true', help='two steps a go: whether it works, not how long it takes')
  given = parser.parse_args()
  names = given.networks.split(',') if given.networks else list(known) if given.all else usual
  unknown = [name for name in names if name not in known]
  if unknown:
    parser.error(f'--networks: there is no {", ".join(unknown)}.')
  if given.turns < 1:
    parser.error('--turns: at least 1 is needed.')
  tf.config.threading.set_intra_op_parallelism_threads(1)
  print('CPU time with one thread for an operation\n')
  columns = ('', 'batch', 'a run has', 'TensorFlow, ms a step', 'XLA, ms a step', 'XLA / TensorFlow')
  columns = (*columns, 'Keras / what a run has', 'PyTorch / what a run has', 'evaluation, examples a s', 'at a time')
  chosen = {name: known[name] for name in names}
  options = {'turns': given.turns, 'xla': given.xla, 'quick': given.quick, 'torch_python': given.torch_python}
  print_table(columns, rows(chosen, **options))


if __name__ == '__main__':
  sys.exit(main())
