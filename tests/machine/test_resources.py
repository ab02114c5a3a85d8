# SPDX-License-Identifier: Apache-2.0
"""What a process may use, read from files like Linux's."""

import math
import os

import pytest

from fedprox_tff.machine.resources import free_memory, usable_cores

MEMINFO = 'MemTotal:       16384 kB\nMemAvailable:    8192 kB\n'  # 8 MiB are free
MIB = 2**20


def free(tmp_path, *, meminfo=MEMINFO, cgroup='0::/job/step\n', **limits):
  """Returns what is free, with limits of the group, of the one that it is in, and of all."""
  (tmp_path / 'self').mkdir()
  (tmp_path / 'meminfo').write_text(meminfo)
  (tmp_path / 'self' / 'cgroup').write_text(cgroup)
  groups = tmp_path / 'groups'
  (groups / 'job' / 'step').mkdir(parents=True)
  for name, folder in (('step', groups / 'job' / 'step'), ('job', groups / 'job'), ('all', groups)):
    if name in limits:
      (folder / 'memory.max').write_text(f'{limits[name]}\n')
  return free_memory(tmp_path, groups)


@pytest.mark.parametrize(
  ('limits', 'mebibytes'),
  [
    ({}, 8),
    ({'step': 'max', 'job': 'max'}, 8),
    ({'step': 5 * MIB}, 5),
    ({'step': 'max', 'job': 3 * MIB}, 3),
    ({'step': 5 * MIB, 'job': 6 * MIB, 'all': 4 * MIB}, 4),
    ({'step': 9 * MIB}, 8),
  ],
)
def test_free_is_what_the_machine_has_and_all_groups_allow(tmp_path, limits, mebibytes):
  assert free(tmp_path, **limits) == mebibytes * MIB


@pytest.mark.parametrize('cgroup', ['', '4:memory:/job/step\n'])
def test_without_a_group_of_the_second_version_the_machine_counts(tmp_path, cgroup):
  assert free(tmp_path, cgroup=cgroup, step=MIB) == 8 * MIB


def test_where_nobody_says_it_is_no_number(tmp_path):
  assert math.isnan(free_memory(tmp_path))
  assert math.isnan(free(tmp_path, meminfo='MemTotal: 16384 kB\n'))


def test_cores_are_those_that_the_process_may_use():
  mine = os.sched_getaffinity(0)
  try:
    os.sched_setaffinity(0, {min(mine)})
    assert usable_cores() == 1
  finally:
    os.sched_setaffinity(0, mine)
