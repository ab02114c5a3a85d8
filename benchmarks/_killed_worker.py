# SPDX-License-Identifier: Apache-2.0
"""How long a run on a cluster is held up when one of its workers is killed."""

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks._ray_meter import Meter
from benchmarks._turns import Contender

_WHEN = 0.4  # of a round that nothing disturbs
_UNDISTURBED = 3  # rounds of which the median is taken
_LIMIT_SECONDS = 120.0


class Killed(NamedTuple):
  """What one kill cost, in seconds."""

  undisturbed: float  # a round
  disturbed: float  # the round with the kill
  meanwhile: float | None  # a round until the new worker works; None if there was none
  replaced: float  # from the kill to the first answer of the new worker


def kills(contender: Contender, meter: Meter, workers: list[int], number: int) -> Iterator[Killed]:
  """Kills one worker after another.

  Args:
    contender: What they work for; all its rounds are the first one.
    meter: What has hired them.
    workers: The places of all workers that work for it, among those that were hired.
    number: How many times.
  """
  for _ in range(number):
    undisturbed = statistics.median(contender.go(0).wall for _ in range(_UNDISTURBED))
    pid, hired = meter.pid(workers.pop(0)), len(meter.actors)
    killed_at = []

    def kill(pid=pid, killed_at=killed_at):
      killed_at.append(time.monotonic())
      os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(_WHEN * undisturbed, kill)
    timer.start()
    disturbed = contender.go(0).wall
    timer.join()
    others = []
    while hired not in meter.first_answers and time.monotonic() - killed_at[0] < _LIMIT_SECONDS:
      others.append(contender.go(0).wall)
    workers.append(hired)
    others.pop() if others else None  # in the last one the new worker works
    replaced = meter.first_answers[hired] - killed_at[0]
    yield Killed(undisturbed, disturbed, statistics.median(others) if others else None, replaced)
