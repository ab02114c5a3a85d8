# SPDX-License-Identifier: Apache-2.0
"""Time of a local step, against the same arithmetic without a framework and against other frameworks.

    python -m benchmarks.local_step [--turns=5] [--torch_python=PATH] [--quick]

Two tables. MNIST logistic regression (batch 10, mu = 1, learning rate 0.03), 20 epochs of one client with 2,000
examples: this suite's client work in process, plain C (local_step.c, compiled on the spot for this machine, one
thread), a numpy loop (one thread) and TFF's stock client work in process, which has no proximal term. And the
convolutional network, two epochs of a client with 400 examples: this suite's client work, Keras' `fit` and
`train_on_batch`, and PyTorch, if the interpreter at PATH has it (`pip install torch`, in an environment of its
own). The examples are MNIST's where it can be found.

All have the same examples, initial weights and batches in the same order (TFF's stock work shuffles by itself), gather
the rows of each batch themselves, and must end at the same weights. Best of several turns, in which each has its go.
"""

import argparse
import collections
import ctypes
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf
import tensorflow_federated as tff
import threadpoolctl

from benchmarks import _for_torch
from benchmarks._timing import Contender, Measured, best_of, print_table, timed
from benchmarks.round_time import load_split
from fedprox_tff.algorithms import fedavg, fedprox
from fedprox_tff.algorithms.base import Algorithm
from fedprox_tff.core import streams
from fedprox_tff.core.task import Task
from fedprox_tff.core.tree import Weights
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.suite_model import functional_model
from fedprox_tff.models import Model, cnn, logistic

CLASSES, BATCH, MU = 10, 10, 1.0
KEY = (0, 1, 0)  # seed, round and client: what names the order of the batches
HERE = pathlib.Path(__file__).parent
PYTORCH = 'PyTorch, threads: '


class Work(NamedTuple):
  """What a client does in a round."""

  examples: Examples
  epochs: int
  model: Model
  learning_rate: float

  @property
  def rows(self) -> np.ndarray:
    """The rows of each local step, int32 [steps, BATCH], as client_payload draws them."""
    rows = np.tile(np.arange(len(self.examples.y), dtype=np.int32), (self.epochs, 1))
    return streams.generator('shuffle', *KEY).permuted(rows, axis=1).reshape(-1, BATCH)

  @property
  def steps(self) -> int:
    """The number of local steps."""
    return self.epochs * len(self.examples.y) // BATCH


def ours(work: Work, algorithm: Algorithm) -> Contender:
  """Returns a round of this suite's process with the one client, whose examples lie where a run has them."""
  process = build_process(
    algorithm, work.model, client_optimizer=tff.learning.optimizers.build_sgdm(work.learning_rate)
  )
  state = process.initialize()
  examples = collections.OrderedDict((name, tf.constant(a)) for name, a in work.examples._asdict().items())
  payload = client_payload(
    examples, num_epochs=work.epochs, batch_size=BATCH, key=KEY, rows=range(len(work.examples.y))
  )

  def contender() -> Measured:
    (after, _), seconds = reversed(timed(process.next, state, [payload]))
    return Measured(seconds, tuple(map(np.asarray, process.get_model_weights(after).trainable)))

  return contender


def stock(work: Work) -> Contender:
  """Returns a round of TFF's own FedAvg with the one client."""
  process = tff.learning.algorithms.build_weighted_fed_avg(
    functional_model(work.model),
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(work.learning_rate),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  state = process.initialize()
  dataset = tf.data.Dataset.from_tensor_slices(collections.OrderedDict(work.examples._asdict()))
  dataset = dataset.shuffle(len(work.examples.y)).batch(BATCH).repeat(work.epochs)
  return lambda: timed(process.next, state, [dataset])


def plain_c(work: Work, library: ctypes.CDLL) -> Contender:
  """Returns the loops of local_step.c."""
  x, y, rows = work.examples.x, work.examples.y, np.ascontiguousarray(work.rows)

  def contender() -> Measured:
    kernel, bias = as_rows(work.model.initial_weights)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, y, rows)]
    results = [array.ctypes.data_as(ctypes.c_void_p) for array in (kernel, bias)]
    scalars = ctypes.c_long(work.steps), ctypes.c_float(work.learning_rate), ctypes.c_float(MU)
    return Measured(timed(library.local_steps, *pointers, *scalars, *results).seconds, (kernel, bias))

  return contender


def compiled(folder: str) -> ctypes.CDLL | None:
  """Compiles local_step.c for this machine; None without a C compiler."""
  compiler = shutil.which('cc') or shutil.which('gcc')
  if compiler is None:
    return None
  target = pathlib.Path(folder) / 'local_step.so'
  sizes = [f'-DINPUTS={28 * 28}', f'-DCLASSES={CLASSES}', f'-DBATCH={BATCH}']
  flags = ['-O3', '-march=native', '-ffast-math', '-shared', '-fPIC', *sizes]
  subprocess.run([compiler, *flags, str(HERE / 'local_step.c'), '-o', str(target), '-lm'], check=True)
  return ctypes.CDLL(str(target))


def numpy_loop(work: Work) -> Contender:
  """Returns the update as one writes it in numpy, kept to one thread."""
  order = work.rows

  def contender() -> Measured:
    with threadpoolctl.threadpool_limits(1):
      return timed(_numpy_steps, work, order)

  return contender


def _numpy_steps(work: Work, order: np.ndarray) -> Weights:
  x, y = work.examples.x.reshape(len(work.examples.y), -1), work.examples.y
  kernel, bias = as_rows(work.model.initial_weights)
  kernel = np.ascontiguousarray(kernel.T)  # the faster way round for numpy's products
  anchor, anchor_bias = kernel.copy(), bias.copy()
  places = np.arange(BATCH)
  for rows in order:
    batch = x[rows]
    error = batch @ kernel + bias
    error = np.exp(error - error.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[places, y[rows]] -= 1
    error /= BATCH
    kernel -= work.learning_rate * (batch.T @ error + MU * (kernel - anchor))
    bias -= work.learning_rate * (error.sum(axis=0) + MU * (bias - anchor_bias))
  return kernel.T, bias


def as_rows(weights: Weights) -> Weights:
  """Copies the weights of a logistic regression, the kernel as one row for each class."""
  kernel, bias = weights
  return np.array(kernel if len(kernel) == CLASSES else kernel.T, order='C'), np.array(bias)


def keras(work: Work, fit: bool) -> Contender:
  """Returns Keras' own training of the convolutional network, by `fit` or by `train_on_batch`."""
  layers = tf.keras.layers
  network = tf.keras.Sequential(
    [
      layers.InputLayer(work.examples.x.shape[1:]),
      layers.Conv2D(32, 5, padding='same', activation='relu'),
      layers.MaxPool2D(padding='same'),
      layers.Conv2D(64, 5, padding='same', activation='relu'),
      layers.MaxPool2D(padding='same'),
      layers.Flatten(),
      layers.Dense(512, activation='relu'),
      layers.Dense(CLASSES),
    ]
  )
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  network.compile(tf.keras.optimizers.SGD(work.learning_rate), loss)
  order = work.rows
  x, y = (array[order.ravel()] for array in work.examples)

  def train() -> None:
    if fit:
      network.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    else:
      for rows in order:
        network.train_on_batch(work.examples.x[rows], work.examples.y[rows])

  def contender() -> Measured:
    network.set_weights(work.model.initial_weights)
    return Measured(timed(train).seconds, tuple(network.get_weights()))

  return contender


def torch(work: Work, python: str, threads: int) -> Contender:
  """Returns the same network in PyTorch, in a process of its own that has its own clock."""
  first = _for_torch.LAYOUTS['cnn'](work.model.initial_weights)

  def contender() -> Measured:
    rate = {'learning_rate': work.learning_rate}
    taken = _for_torch.take_steps(python, 'cnn', first, work.examples, work.rows, threads=threads, **rate)
    return Measured(taken.seconds, taken.weights)

  return contender


def logistic_contenders(work: Work, library: ctypes.CDLL | None) -> dict[str, Contender]:
  """Returns who takes the steps of the logistic regression; ours comes first."""
  contenders = {'ours, in process': ours(work, fedprox(mu=MU))}
  if library:
    contenders['plain C, one thread'] = plain_c(work, library)
  return contenders | {
    'numpy, one thread': numpy_loop(work),
    "TFF's stock client work, in process (mu = 0)": stock(work),
  }


def cnn_contenders(work: Work, torch_python: str | None) -> dict[str, Contender]:
  """Returns who takes the steps of the convolutional network; ours comes first."""
  contenders = {
    'ours, in process': ours(work, fedavg()),
    'ours, in process, mu = 1': ours(work, fedprox(mu=MU)),
    'Keras, fit': keras(work, fit=True),
    'Keras, train_on_batch': keras(work, fit=False),
  }
  if torch_python:
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
      contenders[f'{PYTORCH}{threads}'] = torch(work, torch_python, threads)
  return contenders


def check(
  results: Mapping[str, Measured], as_ours: list[str], arrange: Callable[[Weights], Weights], tolerance: float
) -> None:
  """Makes sure that contenders have done the same work: their weights are ours to float tolerance."""
  expected = arrange(next(iter(results.values())).result)
  for name in as_ours:
    for array, own in zip(arrange(results[name].result), expected, strict=True):
      np.testing.assert_allclose(array, own, rtol=0, atol=tolerance, err_msg=name)


def print_steps(
  results: Mapping[str, Measured], steps: int, unit: str, scale: float, missing: Mapping[str, str]
) -> None:
  """Prints the time of a step of each contender, and why a missing one is missing."""
  first = next(iter(results.values())).seconds
  rows = [(name, f'{m.seconds / steps * scale:.1f}', f'{m.seconds / first:.2f}') for name, m in results.items()]
  print_table(('', f'{unit} a local step', 'times ours'), [*rows, *((name, why, '') for name, why in missing.items())])


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--turns', type=int, default=5, help='the best of so many counts')
  parser.add_argument('--torch_python', metavar='PATH', help='an interpreter that has PyTorch')
  parser.add_argument('--quick', action='store_true', help='a few steps: whether it works, not how long it takes')
  given = parser.parse_args()
  best = (
    functools.partial(best_of, turns=1, turn_seconds=0.0)
    if given.quick
    else functools.partial(best_of, turns=given.turns)
  )
  num_examples, num_images, epochs = (100, 20, 2) if given.quick else (2000, 400, 20)
  split, what = load_split()
  examples = Examples(*(np.ascontiguousarray(array[:num_examples]) for array in split.examples))
  shape = examples.x.shape[1:]
  with tempfile.TemporaryDirectory() as folder, runtimes.use('in_process'):
    work = Work(examples, epochs, logistic().build(Task(shape, CLASSES), seed=0), 0.03)
    library = compiled(folder)
    results = best(logistic_contenders(work, library))
    check(results, [name for name in results if 'mu = 0' not in name], as_rows, 1e-4)
    print(f'Logistic regression on {what}, {work.steps} local steps, {len(os.sched_getaffinity(0))} cores\n')
    print_steps(results, work.steps, 'µs', 1e6, {} if library else {'plain C, one thread': 'no C compiler here'})

    # A small learning rate: at 0.03 the last bits decide, within 40 steps, which of two pixels max pooling takes.
    images = Examples(*(array[:num_images] for array in examples))
    work = Work(images, 2, cnn().build(Task(shape, CLASSES), seed=0), 0.001)
    results = best(cnn_contenders(work, given.torch_python))
    to_torch = _for_torch.LAYOUTS['cnn']
    arranged = {
      name: measured if name.startswith(PYTORCH) else measured._replace(result=to_torch(measured.result))
      for name, measured in results.items()
    }
    check(arranged, [name for name in results if 'mu = 1' not in name], list, 1e-3)
    print(f'\nConvolutional network, {work.steps} local steps\n')
    print_steps(results, work.steps, 'ms', 1e3, {} if given.torch_python else {'PyTorch': 'no --torch_python'})


if __name__ == '__main__':
  sys.exit(main())
