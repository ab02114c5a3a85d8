# SPDX-License-Identifier: Apache-2.0
"""A user's own network: a function in a Python file that makes a Keras model, `--model=FILE.py:function`.

    import tensorflow as tf

    def network(input_shape, num_classes):
      return tf.keras.Sequential([
        tf.keras.layers.Flatten(input_shape=input_shape),
        tf.keras.layers.Dense(num_classes),
      ])

`input_shape` is that of one example. The model gives logits, without a softmax; its loss is this suite's cross-entropy,
so it need not be compiled. A parameter called `vocabulary` gets the size of a text's vocabulary. Images come as floats,
texts as int32. What a model must not have `keras_model` says.

Keras's initialisers draw from the run's seed: one seed gives one set of bits. The file's code is run with all rights of
the user, as that of any program.
"""

import concurrent.futures
import contextlib
import functools
import importlib.util
import inspect
import pathlib
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.errors import UserError, line_of
from fedprox_tff.core.task import Task
from fedprox_tff.models.base import Architecture, Model
from fedprox_tff.models.keras_model import functional_model, input_type


def is_keras_file(text: str) -> bool:
  """Returns whether the name of a model has the form FILE.py:function."""
  return re.fullmatch(r'.+\.py:.*', text) is not None


@functools.cache  # equal names have one factory
def factory_of(text: str) -> Callable[[], Architecture]:
  """Returns the factory of a model, which has no parameters.

  Args:
    text: FILE.py:function.

  Raises:
    UserError: If it has another form, or there is no such file.
  """
  path, _, function = text.rpartition(':')
  if not is_keras_file(text) or not function.isidentifier():
    raise UserError(f'--model={text}: FILE.py:function is needed, with the name of a function in that file.')
  if not pathlib.Path(path).expanduser().is_file():
    raise UserError(f'--model={text}: there is no file {path}.')

  def factory():
    return keras_file(path, function)

  return factory


def keras_file(path: str, function: str) -> Architecture:
  """Returns the network that a function makes.

  The file is run once, when a model is built. `build` raises `ValueError` in one line if that fails, or if what the
  function makes cannot be used.

  Args:
    path: The file's.
    function: Its name, of `(input_shape, num_classes)` to a `tf.keras.Model`.
  """
  load = functools.cache(functools.partial(_load, path, function))

  def build(task: Task, *, seed: int) -> Model:
    network = load()
    keras_model, first = _make(path, network, task, seed)
    _, second = _make(path, network, task, seed)
    for variable, value, again in zip(keras_model.weights, first, second, strict=True):
      if not np.array_equal(value, again):
        raise ValueError(
          f"The initial values of {variable.name} do not follow from the run's seed; Keras's initialisers are needed."
        )
    with _errors_of(path):
      return functional_model(f'{path}:{function}', keras_model, task)

  return Architecture(f'{path}:{function}', function, build)


def _load(path: str, function: str) -> Callable[..., Any]:
  """Returns a function of a file.

  Raises:
    ValueError: If the file cannot be run, or has no such function.
  """
  file = _absolute(path)
  spec = importlib.util.spec_from_file_location(f'keras_file_{file.stem}', file)
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module
  with _errors_of(path):
    spec.loader.exec_module(module)
  if not callable(getattr(module, function, None)):
    raise ValueError(f'{path} has no function {function}.')
  return getattr(module, function)


def _make(path: str, network: Callable[..., Any], task: Task, seed: int) -> tuple[Any, list[np.ndarray]]:
  """Returns the Keras model with all its weights, and their initial values in the order of `weights`.

  Keras's initialisers seed themselves from Python's generator, unless somebody has called Keras's `set_random_seed` in
  this thread. So they are run in a fresh thread; afterwards Python's generator is as it was before.

  Raises:
    ValueError: If the function fails, or returns something else.
  """
  extra = {'vocabulary': task.inputs.vocabulary} if 'vocabulary' in inspect.signature(network).parameters else {}

  def run():
    import tensorflow as tf

    state = random.getstate()
    random.seed(int(streams.generator('model', seed).integers(2**63)))
    try:
      with tf.device('CPU:0'), _errors_of(path):
        keras_model = network(task.input_shape, task.num_classes, **extra)
        if not isinstance(keras_model, tf.keras.Model):
          raise ValueError(f'A tf.keras.Model is needed, not something of type {type(keras_model).__name__}.')
        keras_model(tf.zeros([1, *task.input_shape], input_type(task)), training=False)
    finally:
      random.setstate(state)
    return keras_model, [variable.numpy() for variable in keras_model.weights]

  with concurrent.futures.ThreadPoolExecutor(max_workers=1) as thread:
    return thread.submit(run).result()


@contextlib.contextmanager
def _errors_of(path: str) -> Iterator[None]:
  """Turns an error of a user's code into one line, with the line of the file that it comes from."""
  try:
    yield
  except Exception as error:
    file = str(_absolute(path))
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
      lines.append(error.lineno)
    if not lines and type(error) is ValueError:
      raise ValueError(line_of(error)) from error
    where = f'{path}, line {lines[-1]}' if lines else path
    raise ValueError(f'{where}: {type(error).__name__}: {line_of(error)}') from error


def _absolute(path: str) -> pathlib.Path:
  return pathlib.Path(path).expanduser().resolve()
