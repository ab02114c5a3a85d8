# SPDX-License-Identifier: Apache-2.0
"""Through whose hands what clients keep goes in a round: this process's, or those of workers on other machines."""

from collections.abc import Sequence
from typing import Any

from fedprox_tff.federated.rounds import KeepState, ReadState
from fedprox_tff.federated.runtimes import Runtime
from fedprox_tff.federated.runtimes.context import Errands
from fedprox_tff.training import state_files
from fedprox_tff.training.client_states import ClientStates, Snapshot
from fedprox_tff.training.cohort import Participant

NEEDS_A_SHARED_DISK = (
  '--client_states=disk keeps there what clients keep: put --results_dir on a disk that all nodes share, or take '
  '--client_states=memory.'
)


def client_memory(
  cohort: Sequence[Participant],
  kept: Snapshot | None,
  states: ClientStates | None,
  round_num: int,
  runtime: Runtime,
) -> tuple[ReadState, KeepState, Errands | None]:
  """Returns how a round reads and keeps what clients keep, by places in the cohort.

  A client that is dropped keeps what it had. One that is drawn twice reads what it had before the round, both times.
  """
  is_drawn_twice = len({participant.client for participant in cohort}) < len(cohort)  # two workers, and one file
  if states is not None and states.is_on_disk and runtime.is_elsewhere and not is_drawn_twice:
    errands = _Errands(cohort, kept, states, round_num)
    return (lambda place: states.initial), errands.done, errands

  def read_state(place: int) -> Any:
    return kept.state_of(cohort[place].client)

  def keep_state(place: int, new: Any) -> None:
    if not cohort[place].dropped:
      states.put(cohort[place].client, new, round_num)

  return read_state, keep_state, None


class _Errands:
  """What workers on other machines read and write themselves in a round: the files of states on a shared disk."""

  def __init__(self, cohort: Sequence[Participant], kept: Snapshot, states: ClientStates, round_num: int):
    self._cohort, self._kept, self._states, self._round_num = cohort, kept, states, round_num

  def of(self, place: int) -> state_files.Errand:
    """Returns the errand of the client at a place of the cohort."""
    participant = self._cohort[place]
    return self._kept.errand(participant.client, None if participant.dropped else self._round_num)

  def done(self, place: int, digest: bytes | None) -> None:
    """Takes the digest of the file that the client's worker has written."""
    self._states.put_file(self._cohort[place].client, digest, self._round_num)
