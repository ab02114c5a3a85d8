# SPDX-License-Identifier: Apache-2.0
"""What clients keep: versions, snapshots, files, and what a kill or damage leaves of them."""

import errno
import os
import resource
import shutil

import numpy as np
import pytest

from fedprox_tff.config.settings import CLIENT_STATES
from fedprox_tff.training.client_states import ClientStates

SHAPES = (((2, 3), (3,)), ((),), (4, 1))  # as of two models' weights and a number
NUM_BYTES = 4 * (6 + 3 + 1 + 4)
DAMAGES = ('missing', 'empty', 'half of the header', 'garbled header', 'cut', 'another length', 'another type')


def map_shapes(function, shapes=SHAPES):
  if all(isinstance(part, int) for part in shapes):
    return function(shapes)
  return tuple(map_shapes(function, part) for part in shapes)


def state(*key):
  """Returns a state of random bits: NaNs of all kinds, infinities and denormal numbers are among them."""
  rng = np.random.default_rng([255, *key])
  return map_shapes(lambda shape: rng.integers(0, 2**32, shape or 1, np.uint32).view(np.float32).reshape(shape))


INITIAL = map_shapes(lambda shape: np.zeros(shape, np.float32))


def bits(value):
  """Returns a state as something to compare: its structure with each array's shape, type and bits."""
  if isinstance(value, tuple):
    return tuple(map(bits, value))
  return np.shape(value), value.dtype, np.asarray(value).tobytes()


def contents(states):
  return {client: bits(value) for client, value in states.items()}


def make(folder, place='memory'):
  return ClientStates(INITIAL, folder / 'client_states', place=place)


def files(folder):
  return sorted(path.name for path in (folder / 'client_states').glob('*'))


def damage(path, how):
  raw = path.read_bytes()
  if how == 'missing':
    path.unlink()
  elif how == 'empty':
    path.write_bytes(b'')
  elif how == 'half of the header':
    path.write_bytes(raw[:60])
  elif how == 'garbled header':
    path.write_bytes(raw.replace(b"'descr'", b"(descr'"))
  elif how == 'cut':
    path.write_bytes(raw[:-1])
  elif how == 'another length':
    np.save(path, np.load(path)[:-1].ravel())
  else:
    np.save(path, np.load(path).astype(np.float64))


@pytest.fixture(params=CLIENT_STATES)
def place(request):
  return request.param


def test_a_client_that_has_not_taken_part_has_the_initial_state(tmp_path, place):
  states = make(tmp_path, place)
  states.put(3, state(0), 1)
  assert states.snapshot().state_of(7) is INITIAL
  assert bits(states.snapshot().state_of(3)) == bits(state(0))


def test_a_snapshot_stays_as_it_is(tmp_path, place):
  states = make(tmp_path, place)
  empty = states.snapshot()
  states.put(3, state(0), 1)
  states.put(5, state(1), 1)
  first = states.snapshot()
  states.put(3, state(2), 2)
  states.put(4, state(3), 2)
  assert len(empty) == 0
  assert contents(first) == {3: bits(state(0)), 5: bits(state(1))}
  assert contents(states.snapshot()) == {3: bits(state(2)), 5: bits(state(1)), 4: bits(state(3))}


def test_a_state_is_a_copy_that_nobody_can_write_to(tmp_path, place):
  states = make(tmp_path, place)
  mine = state(0)
  states.put(3, mine, 1)
  mine[2][:] = 0.0
  assert bits(states.snapshot().state_of(3)) == bits(state(0))
  if place == 'memory':  # on disk, each read is a copy of its own
    with pytest.raises(ValueError, match='read-only'):
      states.snapshot().state_of(3)[2][:] = 0.0


def test_a_client_twice_in_a_cohort_has_its_last_state(tmp_path, place):
  states = make(tmp_path, place)
  for round_num in (1, 2):
    states.put(3, state(round_num, 0), round_num)
    states.put(3, state(round_num, 1), round_num)
  states.forget_before(2)
  assert bits(states.snapshot().state_of(3)) == bits(state(2, 1))
  assert files(tmp_path) == (['3-2.npy'] if place == 'disk' else [])


@pytest.mark.parametrize('then', CLIENT_STATES)
def test_saved_states_are_loaded_bit_for_bit_into_either_place(tmp_path, place, then):
  states = make(tmp_path, place)
  for client in (0, 41, 99_999):
    states.put(client, state(client), client % 7)
  saved = states.snapshot()
  states.save(saved, 20)
  states.put(41, state(1), 21)  # after the snapshot: not of round 20
  loaded = make(tmp_path, then)
  loaded.load(20)
  assert contents(loaded.snapshot()) == contents(saved) == {c: bits(state(c)) for c in (0, 41, 99_999)}
  assert loaded.snapshot().state_of(1) is INITIAL


def test_a_round_before_anyone_has_taken_part_is_saved_too(tmp_path, place):
  states = make(tmp_path, place)
  states.save(states.snapshot(), 0)
  states.put(3, state(0), 1)
  states.load(0)
  assert len(states.snapshot()) == 0
  assert states.snapshot().state_of(3) is INITIAL


def test_only_clients_that_have_taken_part_cost_space(tmp_path, place):
  """However many there are, and once for all rounds in which a client has the same state."""
  states = make(tmp_path, place)
  assert not (tmp_path / 'client_states').exists()
  states.put(999_999, state(0), 1)
  states.put(5, state(1), 2)
  for round_num in (20, 40):
    states.save(states.snapshot(), round_num)
    states.keep([round_num - 20, round_num])
  assert files(tmp_path) == ['5-2.npy', '999999-1.npy', 'round_20.npy', 'round_40.npy']
  assert (tmp_path / 'client_states' / '5-2.npy').stat().st_size == NUM_BYTES + 128


def test_keep_removes_exactly_what_no_kept_round_needs(tmp_path, place):
  states = make(tmp_path, place)
  for round_num in range(1, 7):
    states.put(0, state(round_num, 0), round_num)  # in every round
    if round_num in (2, 5):
      states.put(1, state(round_num, 1), round_num)
    if round_num % 2 == 0:
      states.save(states.snapshot(), round_num)
  everything = [f'0-{r}.npy' for r in ((2, 4, 6) if place == 'memory' else range(1, 7))] + ['1-2.npy', '1-5.npy']
  tables = [f'round_{r}.npy' for r in (2, 4, 6)]
  assert files(tmp_path) == sorted(everything + tables)
  states.keep([2, 4])  # 6 is not saved yet, as it were: what it needs stays
  newer = ['0-6.npy', '1-5.npy'] if place == 'memory' else ['0-5.npy', '0-6.npy', '1-5.npy']
  assert files(tmp_path) == sorted(['0-2.npy', '0-4.npy', '1-2.npy', 'round_2.npy', 'round_4.npy', *newer])
  states.keep([4], newer=False)
  assert files(tmp_path) == ['0-4.npy', '1-2.npy', 'round_4.npy']
  states.keep([], newer=False)
  assert files(tmp_path) == []


def test_states_on_disk_that_nobody_can_ask_for_are_removed_round_by_round(tmp_path):
  """With all clients in every round, only the last round and the saved ones take space."""
  states = make(tmp_path, 'disk')
  for round_num in range(1, 10):
    for client in range(3):
      states.put(client, state(round_num, client), round_num)
    if round_num == 4:
      states.save(states.snapshot(), 4)
      states.keep([4])
    states.forget_before(round_num)
  kept = [f'{client}-{round_num}.npy' for client in range(3) for round_num in (4, 9)]
  assert files(tmp_path) == [*kept, 'round_4.npy']


@pytest.mark.parametrize('seed', range(3))
def test_rounds_are_evaluated_and_saved_late_and_a_kill_at_any_moment_loses_nothing(tmp_path, place, seed):
  """As `RoundWriter` does it: up to four rounds behind, a checkpoint every third round, the two newest kept."""
  rng = np.random.default_rng(seed)
  states, expected, waiting, saved = make(tmp_path, place), {}, [], {}

  def write(round_num, snapshot, then):
    assert contents(snapshot) == then
    if round_num % 3 == 0:
      states.save(snapshot, round_num)
      check_what_a_kill_leaves()  # before the checkpoint, and before anything is removed
      saved[round_num] = then
      for old in sorted(saved)[:-2]:
        del saved[old]
      states.keep(saved)
    states.forget_before(round_num)
    check_what_a_kill_leaves()

  def check_what_a_kill_leaves():
    killed = tmp_path / 'killed'
    shutil.copytree(tmp_path / 'client_states', killed / 'client_states', dirs_exist_ok=True)
    found = make(killed, rng.choice(CLIENT_STATES))
    for round_num, then in saved.items():
      found.load(round_num)
      assert contents(found.snapshot()) == then
    found.keep(saved, newer=False)
    needed = {f'{c}-{v.round_num}.npy' for r in saved for c, v in loaded(killed, r).versions.items()}
    assert set(files(killed)) == needed | {f'round_{r}.npy' for r in saved}
    shutil.rmtree(killed)

  def loaded(folder, round_num):
    states = make(folder)
    states.load(round_num)
    return states.snapshot()

  (tmp_path / 'client_states').mkdir()
  for round_num in range(1, 25):
    for client in rng.integers(0, 8, 3).tolist():  # sometimes twice
      states.put(client, state(seed, round_num, client), round_num)
      expected[client] = bits(state(seed, round_num, client))
    waiting.append((round_num, states.snapshot(), dict(expected)))
    while len(waiting) > rng.integers(0, 5):
      write(*waiting.pop(0))
  assert sorted(saved)[-1] >= 18


@pytest.mark.parametrize('file', ['5-2.npy', 'round_4.npy'])
@pytest.mark.parametrize('how', DAMAGES)
def test_damaged_or_missing_files_are_said_to_be_so(tmp_path, place, file, how):
  states = make(tmp_path)
  states.put(5, state(0), 2)
  states.put(6, state(1), 3)
  states.save(states.snapshot(), 4)
  damage(tmp_path / 'client_states' / file, how)
  with pytest.raises((OSError, ValueError)):
    make(tmp_path, place).load(4)


def test_a_damaged_table_needs_nothing_and_is_in_nobodys_way(tmp_path, place):
  states = make(tmp_path, place)
  for round_num in (2, 4):
    states.put(5, state(round_num), round_num)
    states.save(states.snapshot(), round_num)
  (tmp_path / 'client_states' / 'round_2.npy').write_bytes(b'')
  states.keep([2, 4], newer=False)
  assert files(tmp_path) == ['5-4.npy', 'round_4.npy']


def test_half_written_files_of_a_kill_are_removed(tmp_path):
  states = make(tmp_path)
  states.put(5, state(0), 1)
  states.save(states.snapshot(), 1)
  (tmp_path / 'client_states' / '5-2.tmp').write_bytes(b'half')
  states.keep([1], newer=False)
  assert files(tmp_path) == ['5-1.npy', 'round_1.npy']


@pytest.mark.parametrize('limit', [16, 150])  # bytes: less than the header, and less than the state
def test_a_write_that_fails_names_its_file_and_leaves_none(tmp_path, place, limit):
  """As on a full disk."""
  states = make(tmp_path, place)
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  with pytest.raises(OSError, match=r"5-1\.npy'$") as caught:
    try:
      resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
      states.put(5, state(0), 1)
      states.save(states.snapshot(), 1)
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert caught.value.errno == errno.EFBIG
  assert files(tmp_path) == []


def test_states_in_use_hold_no_files_open(tmp_path):
  """A cohort of 1,000 clients would need as many descriptors as there usually may be."""
  states = make(tmp_path, 'disk')
  for client in range(50):
    states.put(client, state(client), 1)
  before = len(os.listdir('/proc/self/fd'))
  held = [states.snapshot().state_of(client) for client in range(50)]
  assert len(os.listdir('/proc/self/fd')) == before
  assert bits(held[49]) == bits(state(49))
