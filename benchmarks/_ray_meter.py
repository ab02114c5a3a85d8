# SPDX-License-Identifier: Apache-2.0
"""What a driver sends to a Ray cluster and gets from it, and which worker answers when."""

import pickle
import time
from typing import Any, NamedTuple

_METHOD = 'work'  # of a worker; what others are asked for is part of a start, and not of a round


class Traffic(NamedTuple):
  """What has gone through the driver, in bytes as they are pickled."""

  message: int = 0  # put once, for all nodes
  sent: int = 0  # with calls: what each client's work takes, of which its state may be a part
  returned: int = 0
  blocks: int = 0  # answers

  @property
  def total(self) -> int:
    """All bytes that leave or enter the driver when one node reads the message."""
    return self.message + self.sent + self.returned


class Meter:
  """The module `ray` to those who hire workers; it looks at what goes by.

  Attributes:
    ray: The module itself.
    counts: Whether it adds up sizes; it pickles what goes by for that, which takes time.
    traffic: The sizes so far.
    actors: The workers that were ever hired, in that order.
    first_answers: When each of them first answered about clients, by its place; by the monotonic clock.
  """

  def __init__(self, ray: Any):
    self.ray = ray
    self._asked: dict[Any, int] = {}  # the promise of an answer about clients: the place of the worker
    self.counts, self.traffic = False, Traffic()
    self.actors: list[Any] = []
    self.first_answers: dict[int, float] = {}

  def __getattr__(self, name: str) -> Any:
    return getattr(self.ray, name)

  def remote(self, kind: type) -> Any:
    """Returns what hires a worker of this kind, as `ray.remote` does."""
    return _Hiring(self, self.ray.remote(kind))

  def kill(self, actor: '_Actor') -> None:
    """Ends a worker."""
    self.ray.kill(actor.actor)

  def put(self, value: Any) -> Any:
    """Puts the server's message into the object store."""
    self._add(message=value)
    return self.ray.put(value)

  def get(self, promise: Any) -> Any:
    """Returns an answer."""
    place = self._asked.pop(promise, None)
    answer = self.ray.get(promise)
    if place is not None:
      self.first_answers.setdefault(place, time.monotonic())
      self._add(returned=answer)
      self.traffic = self.traffic._replace(blocks=self.traffic.blocks + 1)
    return answer

  def pid(self, place: int) -> int:
    """Returns the process of the worker at a place."""
    return self.ray.get(self.actors[place].actor.about.remote())['pid']

  def hired(self, actor: Any) -> '_Actor':
    """Is told of a worker."""
    self.actors.append(_Actor(self, actor, len(self.actors)))
    return self.actors[-1]

  def asked(self, place: int, method: str, args: tuple[Any, ...], promise: Any) -> None:
    """Is told of a call."""
    if method == _METHOD:
      self._asked[promise] = place
      self._add(sent=[arg for arg in args if not isinstance(arg, self.ray.ObjectRef)])

  def _add(self, **values: Any) -> None:
    if self.counts:
      sizes = {name: getattr(self.traffic, name) + len(pickle.dumps(value, 5)) for name, value in values.items()}
      self.traffic = self.traffic._replace(**sizes)


class _Hiring:
  """What `ray.remote` returns of a class."""

  def __init__(self, meter: Meter, kind: Any):
    self._meter, self._kind = meter, kind

  def options(self, **options: Any) -> '_Hiring':
    return _Hiring(self._meter, self._kind.options(**options))

  def remote(self, *args: Any) -> '_Actor':
    return self._meter.hired(self._kind.remote(*args))


class _Actor:
  """A worker."""

  def __init__(self, meter: Meter, actor: Any, place: int):
    self._meter, self.actor, self._place = meter, actor, place

  def __getattr__(self, name: str) -> '_Method':
    return _Method(self._meter, self._place, name, getattr(self.actor, name))


class _Method(NamedTuple):
  """A method of a worker."""

  meter: Meter
  place: int
  name: str
  method: Any

  def remote(self, *args: Any) -> Any:
    promise = self.method.remote(*args)
    self.meter.asked(self.place, self.name, args, promise)
    return promise
