# SPDX-License-Identifier: Apache-2.0
"""Rounds of one setting in several places, in turns, so that whatever disturbs the machine meets all of them."""

import contextlib
import pathlib
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple
from unittest import mock

import tensorflow_federated as tff

from benchmarks._cores import use_cores
from fedprox_tff.config.record import Config
from fedprox_tff.core.map_reduce import GroupWork
from fedprox_tff.federated.rounds import Rounds
from fedprox_tff.federated.runtimes import Runtime
from fedprox_tff.training.builder import Experiment
from fedprox_tff.training.client_memory import client_memory
from fedprox_tff.training.client_states import ClientStates
from fedprox_tff.training.cohort import Participant
from fedprox_tff.training.participation import client_examples, draw_cohort, payload_of


class Setting(NamedTuple):
  """What is trained in some rounds."""

  config: Config
  experiment: Experiment
  cohorts: Sequence[Sequence[Participant]]  # of each round

  @property
  def clients(self) -> int:
    """How many clients are in a round."""
    return len(self.cohorts[0])

  def twice(self) -> 'Setting':
    """Returns the same with each client of a cohort twice: twice the work, in the same shares."""
    return self._replace(cohorts=[[*cohort, *cohort] for cohort in self.cohorts])


def setting(config: Config, experiment: Experiment, rounds: int) -> Setting:
  """Returns the first rounds of a run."""
  return Setting(config, experiment, [draw_cohort(config, experiment, r + 1) for r in range(rounds)])


class Round(NamedTuple):
  """What a round took, in seconds."""

  wall: float
  cpu: float  # of this process: with workers elsewhere, of the driver


class Contender:
  """A setting in some place."""

  def __init__(
    self, given: Setting, runtime: Runtime, states: ClientStates | None = None, *, cores: Collection[int] | None = None
  ):
    """Makes a contender.

    Args:
      given: What it trains.
      runtime: Where.
      states: What its clients keep; None if they keep nothing.
      cores: Those that this process may use for it; None: all that it has. One thread is not one core:
        TensorFlow does operations that do not wait for one another in threads of its own.
    """
    self.setting, self._runtime, self._states, self._cores = given, runtime, states, cores
    self._rounds, self._count = Rounds(given.experiment.process, runtime), 0

  def warm_up(self) -> None:
    """Trains all rounds once, on each worker of a cluster, so that all is compiled."""
    with self._runtime.rehearsal():
      for number in range(len(self.setting.cohorts)):
        self.go(number)

  def go(self, number: int) -> Round:
    """Trains a round from the initial model, payloads included."""
    with use_cores(self._cores):
      return self._go(number)

  def _go(self, number: int) -> Round:
    config, experiment, cohorts = self.setting
    cohort, states = cohorts[number], self._states
    self._count += 1
    start, cpu = time.perf_counter(), time.process_time()
    with (
      tff.framework.get_context_stack().install(self._runtime.context),
      client_examples(experiment, self._runtime) as data,
    ):
      kept = None if states is None else states.snapshot()
      payloads = [payload_of(config, experiment, data, participant, number + 1) for participant in cohort]
      memory = client_memory(cohort, kept, states, self._count, self._runtime)
      self._rounds.next(experiment.initial_state, payloads, *memory)
    spent = Round(time.perf_counter() - start, time.process_time() - cpu)
    if states is not None:
      states.forget_before(self._count)  # as after a round of a run
    return spent


def in_turns(contenders: Mapping[str, Contender]) -> dict[str, list[Round]]:
  """Returns the rounds of each contender, all of which have the same number of them."""
  for contender in contenders.values():
    contender.warm_up()
  names, rounds = list(contenders), {name: [] for name in contenders}
  for number in range(len(contenders[names[0]].setting.cohorts)):
    first = number % len(names)
    for name in names[first:] + names[:first]:
      rounds[name].append(contenders[name].go(number))
  return rounds


def median(rounds: Sequence[Round]) -> float:
  """Returns the seconds of a round."""
  return statistics.median(taken.wall for taken in rounds)


def median_cpu(rounds: Sequence[Round]) -> float:
  """Returns this process's seconds of CPU time of a round."""
  return statistics.median(taken.cpu for taken in rounds)


def times(rounds: Sequence[Round], others: Sequence[Round]) -> float:
  """Returns how many times as long rounds take as the same rounds elsewhere."""
  return statistics.median(a.wall / b.wall for a, b in zip(rounds, others, strict=True))


def seconds_more(rounds: Sequence[Round], others: Sequence[Round]) -> float:
  """Returns how much longer a round takes than the same round elsewhere."""
  return statistics.median(a.wall - b.wall for a, b in zip(rounds, others, strict=True))


def states_of(experiment: Experiment, folder: str, place: str) -> ClientStates:
  """Returns what an experiment's clients keep, in 'memory' or on 'disk'."""
  return ClientStates(experiment.initial_client_state, pathlib.Path(folder), place=place)


@contextlib.contextmanager
def merges_timed() -> Iterator[list[float]]:
  """Yields a list that gets the seconds of each merge of two sums in this process, as long as the block lasts."""
  seconds, merge = [], GroupWork.merge

  def timed(*args):
    start = time.perf_counter()
    result = merge(*args)
    seconds.append(time.perf_counter() - start)
    return result

  with mock.patch.object(GroupWork, 'merge', timed):
    yield seconds
