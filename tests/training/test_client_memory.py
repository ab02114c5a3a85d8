# SPDX-License-Identifier: Apache-2.0
"""Through whose hands what clients keep goes in a round."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedprox_tff.training.client_memory import client_memory
from fedprox_tff.training.client_states import ClientStates
from fedprox_tff.training.cohort import Participant

INITIAL = (np.float32([1, 2]),)
ELSEWHERE, HERE = SimpleNamespace(is_elsewhere=True), SimpleNamespace(is_elsewhere=False)


def participant(client, dropped=False):
  return Participant(client, num_steps=1, num_epochs=0, weight=1.0, straggler=False, dropped=dropped)


def memory(folder, runtime, cohort, place='disk'):
  states = ClientStates(INITIAL, folder, place=place)
  states.put(7, (np.float32([3, 4]),), 1)
  return states, client_memory(cohort, states.snapshot(), states, 2, runtime)


@pytest.mark.parametrize(
  ('runtime', 'clients', 'place'), [(HERE, [7, 8], 'disk'), (ELSEWHERE, [7, 8], 'memory'), (ELSEWHERE, [7, 7], 'disk')]
)
def test_it_goes_through_the_command_unless_each_client_has_its_own_worker_and_file(tmp_path, runtime, clients, place):
  states, (read, keep, errands) = memory(tmp_path, runtime, [participant(client) for client in clients], place)
  assert errands is None
  assert read(0)[0].tolist() == [3.0, 4.0]
  keep(0, (np.float32([5, 6]),))
  assert states.snapshot()[7][0].tolist() == [5.0, 6.0]


def test_workers_of_a_cluster_go_to_the_disk_themselves(tmp_path):
  states, (read, _, errands) = memory(tmp_path, ELSEWHERE, [participant(7), participant(8, dropped=True)])
  assert read(0) is states.initial
  assert errands.of(0).read().tolist() == [3.0, 4.0]
  assert errands.of(1).write([np.float32([9, 9])], INITIAL) is None  # it was dropped
  errands.done(0, errands.of(0).write([np.float32([5, 6])], INITIAL))
  assert states.snapshot()[7][0].tolist() == [5.0, 6.0]
