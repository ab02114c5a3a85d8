# SPDX-License-Identifier: Apache-2.0
"""Workers on a cluster that share calls, and are replaced when they die.

What a call returns does not depend on who answers it. So a call whose worker died goes to another one, and one that
takes much longer than others did is given to an idle worker too: whoever answers first is heard. Ray has restarts and
retries of its own, which take a hundred times as long.
"""

import collections
import contextlib
import dataclasses
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fedprox_tff.cluster import connection
from fedprox_tff.core.errors import DamagedError, RunFailedError, UserError, line_of

_MISSING = re.compile(r"No module named '[\w.]+'")
_ATTEMPTS = 3  # of one call, if each ends its worker
_BARREN = 3  # workers that died before they had done anything, one after another: another one would, too
_START_SECONDS = 60.0  # that the first worker has in any case: TensorFlow takes a while on a busy node
_TICK_SECONDS = 0.5
_SLOW_FACTOR, _SLOW_SECONDS = 4.0, 2.0  # so many times what others took, and at least so long, is slow


@dataclasses.dataclass
class _Member:
  """A worker, as its crew sees it."""

  actor: Any
  hello: Any  # the promise of what it says of itself; None once it is there
  joining: list[Any]  # promises of what it has to do before it works
  calls: dict[Any, tuple[int | None, float]]  # the promise of each call: its number, and since when it is at hand
  where: str = 'a worker'
  has_begun: bool = False  # to work

  @property
  def has_joined(self) -> bool:
    return self.hello is None

  @property
  def is_ready(self) -> bool:
    return self.has_joined and not self.joining

  def promises(self) -> list[Any]:
    """Returns what is to come of it."""
    return [*([] if self.has_joined else [self.hello]), *self.joining, *self.calls]


class Crew:
  """Workers of one kind. A context manager; leaving it ends them.

  Attributes:
    size: How many workers there shall be.
    needs: What each one takes of the cluster.
    say: Is told what a user should know.
  """

  def __init__(
    self,
    ray: Any,
    hire: Callable[[], Any],
    *,
    size: int,
    needs: str,
    wait_seconds: float,
  ):
    """Asks the cluster for workers.

    Args:
      ray: The module, joined to a cluster.
      hire: Makes a worker, an actor with a method `about`.
      size: How many there shall be.
      needs: What each one takes of the cluster, such as '1 CPU', for messages.
      wait_seconds: How long to wait for a worker when all have died; for the first one at least a minute.
    """
    self.size, self.needs = size, needs
    self._ray, self._hire = ray, hire
    self._wait_seconds = wait_seconds
    self.say: Callable[[str], None] = lambda text: None
    self._lessons: dict[str, tuple[str, tuple[Any, ...]]] = {}  # what a worker has to do before it works, by topic
    self._members: list[_Member] = []
    self._barren = 0
    self._durations: collections.deque[float] = collections.deque(maxlen=32)  # seconds of the newest calls
    self._alone_since: float | None = None  # since when there is no worker
    self._had_one = False
    self._head = connection.Head(ray)
    self._fill_up()

  def __enter__(self) -> 'Crew':
    return self

  def __exit__(self, *_) -> None:
    for member in self._members:
      self._ray.kill(member.actor)
    self._members = []

  def teach(self, topic: str, method: str, *args: Any) -> None:
    """Lets every worker call a method before it works, also those that come later; takes the place of an earlier one.

    Args:
      topic: What it is about.
      method: The method.
      *args: Its arguments.
    """
    self._lessons[topic] = (method, args)
    for member in self._members:
      member.joining.append(getattr(member.actor, method).remote(*args))

  def ask_all(self, method: str, *args: Any) -> list[Any]:
    """Returns what each worker that is ready answers, at least one; waits for it.

    Raises:
      UserError: If a worker refuses to do its work.
      RunFailedError: If no worker comes.
    """
    answers: list[Any] = []
    while not answers:
      self._wait_for(1)
      asked = [(member, getattr(member.actor, method).remote(*args)) for member in self._members if member.is_ready]
      for member, promise in asked:
        try:
          with _in_our_words(self._ray):
            answers.append(self._ray.get(promise))
        except self._ray.exceptions.RayActorError as error:
          self._bury(member, error)
    return answers

  def map(self, method: str, args: Sequence[Callable[[], tuple[Any, ...]]]) -> Iterator[Any]:
    """Yields what calls of a method return, in their order.

    Args:
      method: The method.
      args: For each call a function that returns its arguments; it may be called again.

    Raises:
      UserError: If a worker refuses to do its work.
      RunFailedError: If no worker is left and none comes, or a call fails.
    """
    todo = collections.deque(range(len(args)))
    unanswered, answers, attempts = set(todo), {}, collections.Counter()
    try:
      for number in range(len(args)):
        while number in unanswered:
          self._fill_up()
          self._hand_out(method, args, todo, unanswered)
          for answered, answer in self._collect(todo, unanswered, attempts):
            unanswered.remove(answered)
            answers[answered] = answer
        yield answers.pop(number)
    finally:
      for member in self._members:  # second answers that nobody waits for
        member.calls = {promise: (None, since) for promise, (_, since) in member.calls.items()}

  def _fill_up(self) -> None:
    while len(self._members) < self.size:
      actor = self._hire()
      hello = actor.about.remote()
      joining = [getattr(actor, method).remote(*args) for method, args in self._lessons.values()]
      self._members.append(_Member(actor, hello, joining, {}))

  def _hand_out(self, method: str, args: Sequence[Callable], todo: collections.deque, unanswered: set[int]) -> None:
    """Gives each worker one call, a second one to have at hand while there are many, and idle ones what is slow."""
    ready = [member for member in self._members if member.is_ready]
    while todo and ready:
      member = min(ready, key=lambda member: len(member.calls))
      most = 2 if len(todo) > len(ready) else 1
      if len(member.calls) >= most:
        return
      self._give(member, method, args, todo.popleft())
    idle = [member for member in ready if not member.calls]
    for number in self._slow_calls(unanswered) if idle else ():
      if not idle:
        return
      self._give(idle.pop(), method, args, number)

  def _give(self, member: _Member, method: str, args: Sequence[Callable], number: int) -> None:
    member.calls[getattr(member.actor, method).remote(*args[number]())] = (number, time.monotonic())
    member.has_begun, self._barren = True, 0

  def _slow_calls(self, unanswered: set[int]) -> list[int]:
    """Returns the calls that one worker alone has had for much longer than others took, the oldest first."""
    if not self._durations:
      return []
    limit = max(_SLOW_SECONDS, _SLOW_FACTOR * statistics.median(self._durations))
    since: dict[int, list[float]] = {}
    for member in self._members:
      for number, start in member.calls.values():
        since.setdefault(number, []).append(start)
    now = time.monotonic()
    slow = [n for n, starts in since.items() if n in unanswered and len(starts) == 1 and now - starts[0] > limit]
    return sorted(slow, key=lambda number: since[number][0])

  def _collect(self, todo: collections.deque, unanswered: set[int], attempts: collections.Counter) -> Iterator:
    """Yields an answer that has come, with the number of its call, or none after a while."""
    self._check_for_hope()
    holders = {promise: member for member in self._members for promise in member.promises()}
    for promise in self._ray.wait(list(holders), num_returns=1, timeout=_TICK_SECONDS)[0]:
      member = holders[promise]
      number, since = member.calls.pop(promise, (None, 0.0))
      try:
        with _in_our_words(self._ray):
          answer = self._ray.get(promise)
      except self._ray.exceptions.RayActorError as error:
        lost = {number, *(number for number, _ in member.calls.values())} & unanswered
        self._bury(member, error)
        self._put_back(lost, error, todo, attempts)
        continue
      if promise == member.hello:
        member.hello, member.where = None, f'worker {answer["pid"]} on {answer["node"]}'
      elif promise in member.joining:
        member.joining.remove(promise)
      elif number in unanswered:
        self._durations.append(time.monotonic() - since)
        yield number, answer

  def _put_back(self, lost: set[int], error: Exception, todo: collections.deque, attempts: collections.Counter) -> None:
    """Puts the calls of a dead worker in front of what is to be done, unless another one has them too.

    Raises:
      RunFailedError: If one of them has ended several workers.
    """
    elsewhere = {number for member in self._members for number, _ in member.calls.values()}
    for number in sorted(lost, reverse=True):
      attempts[number] += 1
      if attempts[number] == _ATTEMPTS:
        raise RunFailedError(
          f'{_ATTEMPTS} workers died over the same clients, the last one as {_reason(error)} (was the memory enough?).'
        ) from None
      if number not in elsewhere:
        todo.appendleft(number)

  def _bury(self, member: _Member, error: Exception) -> None:
    self._members.remove(member)
    self._ray.kill(member.actor)
    self._barren += not member.has_begun
    if self._barren == _BARREN:
      raise RunFailedError(f'workers die before they have begun: {_reason(error)}') from None
    self.say(f'{member.where} is gone ({_reason(error)}); another one takes over, and a new one is asked for')

  def assemble(self, seconds: float) -> None:
    """Waits for the first worker, and for the others so many seconds more.

    Raises:
      UserError: If a worker refuses to do its work.
      RunFailedError: If no worker comes.
    """
    self._wait_for(1)
    until = time.monotonic() + seconds
    while time.monotonic() < until and not all(member.is_ready for member in self._members):
      self._look()

  def _wait_for(self, number: int) -> None:
    while sum(member.is_ready for member in self._members) < number:
      self._look()

  def _look(self) -> None:
    """Sees to it that there are as many workers as there shall be, and hears which of them are ready."""
    self._fill_up()
    for _ in self._collect(collections.deque(), set(), collections.Counter()):
      pass

  def _check_for_hope(self) -> None:
    """Says that no worker is left, and gives up if none comes, or if the cluster is gone.

    Raises:
      RunFailedError: If so.
    """
    self._head.check()
    if any(member.has_joined for member in self._members):
      self._alone_since, self._had_one = None, True
      return
    if self._alone_since is None:
      self._alone_since = time.monotonic()
      if self._had_one:
        self.say(f'no worker is left; waiting up to {self._wait_seconds:g} s for one')
    limit = self._wait_seconds if self._had_one else max(self._wait_seconds, _START_SECONDS)
    if time.monotonic() - self._alone_since > limit:
      free = self._ray.available_resources()
      has = f'{free.get("CPU", 0):g} CPU and {free.get("GPU", 0):g} GPU free on {_num_nodes(self._ray)}'
      raise RunFailedError(f'no worker came within {limit:g} s: each takes {self.needs}, and the cluster has {has}.')


def _num_nodes(ray: Any) -> str:
  number = sum(node['Alive'] for node in ray.nodes())
  return f'{number} node{"s" if number != 1 else ""}'


def _reason(error: Exception) -> str:
  """Returns what became of a worker, in a few words: Ray lists all that may ever be the cause."""
  text = str(error)
  if missing := _MISSING.search(text):
    return f'{missing[0]}: the project must lie at the same place on all nodes, or be installed there'
  if 'creation task' in text:  # the end of a traceback
    return text.strip().splitlines()[-1].strip()
  if 'running low on memory' in text:
    return 'its node ran low on memory'
  return 'its node is dead' if 'node' in text and 'has died' in text.replace('process has died', '') else 'it died'


@contextlib.contextmanager
def _in_our_words(ray: Any) -> Iterator[None]:
  """Turns an error of a worker's own into one line; that of a worker that died passes.

  Raises:
    UserError: If it was one.
    DamagedError: If it was one.
    RunFailedError: If it was another.
  """
  try:
    yield
  except ray.exceptions.RayTaskError as error:
    cause = error.cause if isinstance(error.cause, Exception) else error
    for kind in (UserError, DamagedError):
      if isinstance(cause, kind):
        raise kind(line_of(cause)) from None
    raise RunFailedError(_reason(cause) if _MISSING.search(str(cause)) else line_of(cause)) from None
