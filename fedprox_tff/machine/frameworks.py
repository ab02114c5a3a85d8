# SPDX-License-Identifier: Apache-2.0
"""The import of TensorFlow and TFF, which is most of what a run waits for before its first round.

It takes 3.1 to 3.5 s of CPU time as it is, and the interpreter then needs another second to end. Three things are
done about that:

- Python's garbage collector does not look through the half a million objects that the import makes, and that stay:
  not while they are made, not later, and not at the end.
- TFF imports `tensorflow_privacy` and `dp_accounting`, and with them TensorFlow Probability, for the annotations of a
  few functions. They come when differential privacy is first used.
- It can go on in a thread while the main one reads data, which numpy and zlib do without Python's lock.
"""

import atexit
import contextlib
import gc
import importlib
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, NoReturn

_LATE = ('tensorflow_privacy', 'dp_accounting')  # what TFF imports at once and seldom uses

_lock = threading.Lock()  # held while the import goes on
_thread: threading.Thread | None = None


def begin() -> None:
  """Begins the import in a thread; `load` waits for it."""
  global _thread  # noqa: PLW0603 (it is one for the process, as the modules are)
  _thread = threading.Thread(target=_begun, name='import of TensorFlow', daemon=True)
  _thread.start()


def load() -> None:
  """Imports TensorFlow and TFF, or waits until a thread has.

  Raises:
    ImportError: If they cannot be imported.
  """
  wait()
  with _lock:
    _import()


def wait() -> None:
  """Waits for a thread that imports. What shares modules with TensorFlow must not be imported at the same time."""
  if _thread is not None:
    _thread.join()


def leave(code: int) -> NoReturn:
  """Ends the process, without waiting for an import that goes on, and without looking through all objects once more."""
  if _thread is not None and _thread.is_alive():
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError):
        stream.flush()
    os._exit(code)
  gc.freeze()
  sys.exit(code)


def _let_go() -> None:
  """Takes down what ends badly with the interpreter: TFF's default context looks for a module that is gone by then."""
  tff = sys.modules.get('tensorflow_federated')
  if tff is None:  # it could not be imported
    return

  class Nothing(tff.framework.SyncContext):
    def invoke(self, comp: Any, arg: Any) -> Any:
      raise RuntimeError(f'The process ends; {comp} cannot be computed any more.')

  tff.framework.set_default_context(Nothing())


def _begun() -> None:
  with _lock, contextlib.suppress(Exception):  # `load` tries again, and raises
    _import()


def _import() -> None:
  atexit.unregister(_let_go)
  atexit.register(_let_go)  # once, also where the caller has imported TFF
  if 'tensorflow_federated' in sys.modules:
    return
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    importlib.import_module('tensorflow')
    with _late(_LATE):
      importlib.import_module('tensorflow_federated')
    gc.freeze()
  finally:
    if was_enabled:
      gc.enable()


@contextlib.contextmanager
def _late(names: tuple[str, ...]) -> Iterator[None]:
  """Lets what is imported in the block have modules that are imported themselves when they are first used after it."""
  modules = [_LateModule(name) for name in names if name not in sys.modules]
  sys.modules.update({module.__name__: module for module in modules})
  try:
    yield
  finally:
    for module in modules:  # who imports it from now on gets the module itself
      del sys.modules[module.__name__]
      module.__dict__['_is_over'] = True


class _LateModule(types.ModuleType):
  """Stands for a module until something of it is needed."""

  _is_over = False  # whether the import that it stood in for is

  def __getattr__(self, name: str) -> Any:
    if self._is_over:
      return getattr(importlib.import_module(self.__name__), name)
    if name.startswith('__'):
      raise AttributeError(name)
    return Any  # in an annotation
