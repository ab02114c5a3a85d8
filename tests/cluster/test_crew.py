# SPDX-License-Identifier: Apache-2.0
import contextlib

import pytest

pytest.importorskip('ray', reason='"make ray" installs Ray')

from fedprox_tff.cluster import connection, crew
from fedprox_tff.cluster.crew import Crew
from fedprox_tff.core.errors import DamagedError, RunFailedError, UserError
from tests.cluster.actors import Counter


@contextlib.contextmanager
def crew_of(address, size=2, num_cpus=1.0, wait_seconds=60.0):
  """Yields a crew of `Counter`s that were taught 100, and what it has said."""
  with connection.joined(address, '--runtime=ray') as ray:
    actor = ray.remote(Counter).options(num_cpus=num_cpus, max_restarts=0, max_task_retries=0)
    said = []
    with Crew(ray, actor.remote, size=size, needs=f'{num_cpus:g} CPU', wait_seconds=wait_seconds) as made:
      made.say = said.append
      made.teach('hundred', 'learn', 100)
      yield made, said


def calls(numbers, *more):
  return [lambda number=number: (number, *more) for number in numbers]


def test_answers_come_in_the_order_of_the_calls_from_all_workers(two_nodes):
  with crew_of(two_nodes) as (made, said):
    made.assemble(60)
    answers = list(made.map('add', calls(range(40))))
    later = list(made.map('add', calls([7])))
  assert [number for number, _ in answers] == list(range(100, 140))
  assert len({pid for _, pid in answers}) == 2
  assert [number for number, _ in later] == [107]
  assert said == []


def test_what_a_dead_worker_had_goes_to_one_that_knows_what_it_knew(two_nodes, tmp_path):
  with crew_of(two_nodes) as (made, said):
    made.assemble(60)
    assert list(made.map('die_once', calls([2], str(tmp_path)))) == [102]
    numbers = list(made.map('add', calls(range(6))))
  assert [number for number, _ in numbers] == list(range(100, 106))
  (line,) = said
  assert 'on here is gone (it died); another one takes over' in line


def test_a_call_that_ends_each_worker_is_given_up(two_nodes):
  with crew_of(two_nodes) as (made, _), pytest.raises(RunFailedError, match='3 workers died over the same clients'):
    list(made.map('die', [tuple]))


def test_a_call_that_takes_too_long_is_answered_by_another_worker(two_nodes, tmp_path, monkeypatch):
  monkeypatch.setattr(crew, '_SLOW_SECONDS', 0.2)
  with crew_of(two_nodes) as (made, said):
    made.assemble(60)
    assert list(made.map('sleep_once', calls(range(5), str(tmp_path)))) == list(range(5))
    assert [number for number, _ in made.map('add', calls([1, 2]))] == [101, 102]  # by the one that is awake
  assert said == []


def test_errors_of_workers_are_one_line(two_nodes):
  with crew_of(two_nodes, size=1) as (made, _):
    with pytest.raises(UserError, match=r'^node here has other data$'):
      list(made.map('refuse', [tuple]))
    with pytest.raises(DamagedError, match=r'^/x/7-1.state is not as it was written$'):
      list(made.map('find_damage', [tuple]))
    with pytest.raises(RunFailedError, match=r'^no way$'):
      list(made.map('fail', [tuple]))
  with crew_of(two_nodes, size=1) as (made, _):
    made.teach('what', 'refuse')
    with pytest.raises(UserError, match=r'^node here has other data$'):
      made.ask_all('about')


def test_no_room_names_what_is_missing(two_nodes, monkeypatch):
  monkeypatch.setattr(crew, '_START_SECONDS', 0.0)
  with crew_of(two_nodes, num_cpus=50.0, wait_seconds=0.5) as (made, _), pytest.raises(RunFailedError) as error:
    made.assemble(60)
  assert str(error.value) == (
    'no worker came within 0.5 s: each takes 50 CPU, and the cluster has 2 CPU and 0 GPU free on 2 nodes.'
  )


def test_workers_that_die_before_they_work_are_given_up(two_nodes):
  with crew_of(two_nodes, size=1) as (made, _):
    made.teach('the end', 'die')
    with pytest.raises(RunFailedError, match='workers die before they have begun: it died'):
      made.assemble(60)
