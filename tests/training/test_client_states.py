# SPDX-License-Identifier: Apache-2.0
"""What clients keep: versions, snapshots, files, and what a kill or damage leaves of them."""

import concurrent.futures
import errno
import os
import shutil

import numpy as np
import pytest

from fedprox_tff.config.settings import CLIENT_STATES
from fedprox_tff.core.errors import DamagedError
from fedprox_tff.training.client_states import ClientStates
from tests.limits import files_of_at_most

SHAPES = (((2, 3), (3,)), ((),), (4, 1))  # as of two models' weights and a number
NUM_BYTES = 4 * (6 + 3 + 1 + 4)
DAMAGES = ('missing', 'empty', 'half of the header', 'one bit', 'cut', 'longer', 'archive', 'a folder')


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
  if how in ('missing', 'a folder'):
    path.unlink()
  if how == 'a folder':
    path.mkdir()
  elif how == 'archive':
    with path.open('wb') as file:
      np.savez(file, numbers=np.zeros(3))
  elif how != 'missing':
    middle = len(raw) - 40
    flipped = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
    path.write_bytes(
      {'empty': b'', 'half of the header': raw[:60], 'one bit': flipped, 'cut': raw[:-1]}.get(how, raw * 2)
    )


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
  assert files(tmp_path) == (['3-2.state'] if place == 'disk' else [])


@pytest.mark.parametrize('then', CLIENT_STATES)
def test_saved_states_are_loaded_bit_for_bit_into_either_place(tmp_path, place, then):
  states = make(tmp_path, place)
  for client in (0, 41, 99_999):
    states.put(client, state(client), client % 7)
  saved = states.snapshot()
  table = states.save(saved)
  states.put(41, state(1), 21)  # after the snapshot: not of round 20
  loaded = make(tmp_path, then)
  loaded.load(table)
  assert contents(loaded.snapshot()) == contents(saved) == {c: bits(state(c)) for c in (0, 41, 99_999)}
  assert loaded.snapshot().state_of(1) is INITIAL


def test_a_round_before_anyone_has_taken_part_is_saved_too(tmp_path, place):
  states = make(tmp_path, place)
  table = states.save(states.snapshot())
  states.put(3, state(0), 1)
  states.load(table)
  assert len(states.snapshot()) == 0
  assert states.snapshot().state_of(3) is INITIAL


def test_only_clients_that_have_taken_part_cost_space(tmp_path, place):
  """However many there are, and once for all rounds in which a client has the same state."""
  states = make(tmp_path, place)
  assert not (tmp_path / 'client_states').exists()
  states.put(999_999, state(0), 1)
  states.put(5, state(1), 2)
  tables = []
  for round_num in (20, 40):
    tables.append(states.save(states.snapshot()))
    states.keep(tables, newer_than=round_num)
  assert files(tmp_path) == ['5-2.state', '999999-1.state']
  assert (tmp_path / 'client_states' / '5-2.state').stat().st_size < NUM_BYTES + 256


def test_keep_removes_exactly_what_no_kept_round_needs(tmp_path, place):
  states, tables = make(tmp_path, place), {}
  for round_num in range(1, 7):
    states.put(0, state(round_num, 0), round_num)  # in every round
    if round_num in (2, 5):
      states.put(1, state(round_num, 1), round_num)
    if round_num % 2 == 0:
      tables[round_num] = states.save(states.snapshot())
  everything = [f'0-{r}.state' for r in ((2, 4, 6) if place == 'memory' else range(1, 7))] + ['1-2.state', '1-5.state']
  assert files(tmp_path) == sorted(everything)
  states.keep([tables[2], tables[4]], newer_than=4)  # 6 is not saved yet, as it were: what it needs stays
  newer = ['0-6.state', '1-5.state'] if place == 'memory' else ['0-5.state', '0-6.state', '1-5.state']
  assert files(tmp_path) == sorted(['0-2.state', '0-4.state', '1-2.state', *newer])
  states.keep_only([tables[4]], aside=tmp_path / 'aside')
  assert files(tmp_path) == ['0-4.state', '1-2.state']
  assert sorted(path.name for path in (tmp_path / 'aside').iterdir()) == sorted(['0-2.state', *newer])
  states.keep_only([])
  assert files(tmp_path) == []


def test_files_of_other_names_are_somebody_elses(tmp_path, place):
  states = make(tmp_path, place)
  states.put(5, state(0), 1)
  states.save(states.snapshot())
  others = ['notes.txt', '5-x.state', '-1-2.state', '5-1.state.bak', 'round_1.npy', f'{"9" * 30}-1.state']
  for name in others:
    (tmp_path / 'client_states' / name).write_text('mine')
  states.keep_only([])
  assert files(tmp_path) == sorted(others)


def test_states_on_disk_that_nobody_can_ask_for_are_removed_round_by_round(tmp_path):
  """With all clients in every round, only the last round and the saved ones take space."""
  states = make(tmp_path, 'disk')
  for round_num in range(1, 10):
    for client in range(3):
      states.put(client, state(round_num, client), round_num)
    if round_num == 4:
      states.keep([states.save(states.snapshot())], newer_than=4)
    states.forget_before(round_num)
  kept = [f'{client}-{round_num}.state' for client in range(3) for round_num in (4, 9)]
  assert files(tmp_path) == kept


@pytest.mark.parametrize('seed', range(3))
def test_rounds_are_evaluated_and_saved_late_and_a_kill_at_any_moment_loses_nothing(tmp_path, place, seed):
  """As `RoundWriter` does it: up to four rounds behind, a checkpoint every third round, the two newest kept."""
  rng = np.random.default_rng(seed)
  states, expected, waiting, saved, tables = make(tmp_path, place), {}, [], {}, {}

  def write(round_num, snapshot, then):
    assert contents(snapshot) == then
    if round_num % 3 == 0:
      table = states.save(snapshot)
      check_what_a_kill_leaves()  # before the checkpoint, and before anything is removed
      saved[round_num], tables[round_num] = then, table
      for old in sorted(saved)[:-2]:
        del saved[old], tables[old]
      states.keep(tables.values(), newer_than=round_num)
    states.forget_before(round_num)
    check_what_a_kill_leaves()

  def check_what_a_kill_leaves():
    killed = tmp_path / 'killed'
    shutil.copytree(tmp_path / 'client_states', killed / 'client_states', dirs_exist_ok=True)
    found = make(killed, rng.choice(CLIENT_STATES))
    for round_num, then in saved.items():
      found.load(tables[round_num])
      assert contents(found.snapshot()) == then
    found.keep_only(tables.values())
    needed = {f'{client}-{r}.state' for table in tables.values() for client, r in table.versions.tolist()}
    assert set(files(killed)) == needed
    shutil.rmtree(killed)

  (tmp_path / 'client_states').mkdir()
  for round_num in range(1, 25):
    for client in rng.integers(0, 8, 3).tolist():  # sometimes twice
      states.put(client, state(seed, round_num, client), round_num)
      expected[client] = bits(state(seed, round_num, client))
    waiting.append((round_num, states.snapshot(), dict(expected)))
    while len(waiting) > rng.integers(0, 5):
      write(*waiting.pop(0))
  assert sorted(saved)[-1] >= 18


@pytest.mark.parametrize('how', DAMAGES)
def test_damaged_or_missing_files_are_said_to_be_so(tmp_path, place, how):
  states = make(tmp_path, place)
  states.put(5, state(0), 2)
  states.put(6, state(1), 3)
  table = states.save(states.snapshot())
  damage(tmp_path / 'client_states' / '5-2.state', how)
  with pytest.raises(DamagedError, match=r'client_states/5-2\.state'):
    make(tmp_path, place).load(table)
  if place == 'disk':  # also while a run goes on
    with pytest.raises(DamagedError, match=r'client_states/5-2\.state'):
      states.snapshot().state_of(5)


def test_files_that_changed_places_are_noticed(tmp_path, place):
  states = make(tmp_path)
  for client in (5, 6):
    states.put(client, state(client), 2)
  table = states.save(states.snapshot())
  a, b, aside = (tmp_path / 'client_states' / name for name in ('5-2.state', '6-2.state', 'aside'))
  for path, new in ((a, aside), (b, a), (aside, b)):
    path.rename(new)
  with pytest.raises(DamagedError, match=r'5-2\.state holds the state of another client or round'):
    make(tmp_path, place).load(table)


def test_the_state_of_another_run_is_noticed(tmp_path, place):
  tables = []
  for run in ('a', 'b'):
    states = make(tmp_path / run)
    states.put(5, state(run == 'b'), 2)
    tables.append(states.save(states.snapshot()))
  (tmp_path / 'b' / 'client_states' / '5-2.state').replace(tmp_path / 'a' / 'client_states' / '5-2.state')
  with pytest.raises(DamagedError, match=r'5-2\.state is not the state that was saved: it comes from another run'):
    make(tmp_path / 'a', place).load(tables[0])


def test_half_written_files_of_a_kill_are_removed(tmp_path):
  states = make(tmp_path)
  states.put(5, state(0), 1)
  table = states.save(states.snapshot())
  (tmp_path / 'client_states' / '.0123.tmp').write_bytes(b'half')
  states.keep_only([table])
  assert files(tmp_path) == ['5-1.state']


@pytest.mark.parametrize('limit', [16, 150])  # bytes: less than the header, and less than the state
def test_a_write_that_fails_names_its_file_and_leaves_none(tmp_path, place, limit):
  """As on a full disk."""
  states = make(tmp_path, place)
  with pytest.raises(OSError, match=r"5-1\.state'$") as caught, files_of_at_most(limit):
    states.put(5, state(0), 1)
    states.save(states.snapshot())
  assert caught.value.errno == errno.EFBIG
  assert files(tmp_path) == []


def test_many_threads_read_at_once(tmp_path):
  """numpy's own files fail now and then: each of their headers is parsed by Python's parser."""
  states = make(tmp_path, 'disk')
  for client in range(8):
    states.put(client, state(client), 1)
  kept = states.snapshot()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    read = list(pool.map(lambda k: bits(kept.state_of(k % 8)), range(4000)))
  assert read == [bits(state(k % 8)) for k in range(8)] * 500


def test_states_in_use_hold_no_files_open(tmp_path):
  """A cohort of 1,000 clients would need as many descriptors as there usually may be."""
  states = make(tmp_path, 'disk')
  for client in range(50):
    states.put(client, state(client), 1)
  before = len(os.listdir('/proc/self/fd'))
  held = [states.snapshot().state_of(client) for client in range(50)]
  assert len(os.listdir('/proc/self/fd')) == before
  assert bits(held[49]) == bits(state(49))
