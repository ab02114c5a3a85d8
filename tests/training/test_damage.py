# SPDX-License-Identifier: Apache-2.0
"""Trials: what happens to a run's folder that nobody did on purpose, and what comes of it.

The run has 30 rounds, was killed after round 24, and has checkpoints of rounds 14 and 20. It goes on with the bits of a
run that nobody has disturbed, or it is refused in one line and nothing is touched. Whatever it passes over is kept.
"""

import contextlib
import csv
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import RunFailedError, UserError, line_of
from fedprox_tff.machine import sealed
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.session import Session

KINDS = {
  'stateless': {'algorithm': 'fedprox', 'mu': 1},
  'memory': {'algorithm': 'scaffold', 'client_states': 'memory'},
  'disk': {'algorithm': 'scaffold', 'client_states': 'disk'},
}
SMALL = {'dataset': 'digits', 'num_clients': 20, 'clients_per_round': 4, 'epochs': 1, 'rounds': 30}
OLDER, NEWER, KILLED = 14, 20, 24
OLD_CKPT, NEW_CKPT = (f'checkpoints/round_{round_num}.ckpt' for round_num in (OLDER, NEWER))


class Runs:
  """Runs of one kind in one session."""

  def __init__(self, session, kind):
    self._session, self._flags = session, KINDS[kind]

  def train(self, results, **flags):
    """Trains the run in a folder and returns what it said."""
    given = {**SMALL, **self._flags}
    config = Config.from_flags({**given, 'results_dir': str(results), 'name': 'run', **flags})
    log = results / 'said'
    with log.open('w') as said, self._session.open(config) as run, Progress(config.rounds, said) as progress:
      run.train(progress)
    return log.read_text()


@pytest.fixture(scope='module')
def session():
  with Session() as session:
    yield session


@pytest.fixture(scope='module', params=KINDS)
def runs(request, session, tmp_path_factory):
  """Returns runs of a kind, the folder of a killed one, and the rows that it must end with."""
  runs = Runs(session, request.param)
  whole, killed = tmp_path_factory.mktemp('whole'), tmp_path_factory.mktemp('killed')
  runs.train(whole)
  for rounds in (OLDER, NEWER):
    runs.train(killed, rounds=rounds)
  later = tmp_path_factory.mktemp('later') / 'run'
  shutil.copytree(killed / 'run', later)
  runs.train(later.parent, rounds=KILLED)
  shutil.copy(later / 'metrics.csv', killed / 'run')
  config_value('rounds', 30)(killed / 'run')
  for path in (later / 'client_states').glob(f'*-{KILLED}.state'):
    shutil.copy(path, killed / 'run' / 'client_states')
  return runs, killed / 'run', rows(whole / 'run')


def rows(run):
  with (run / 'metrics.csv').open(newline='') as file:
    found = list(csv.DictReader(file))
  return [{k: v for k, v in row.items() if not k.startswith(('seconds/', 'memory/'))} for row in found]


def tree(run):
  """Returns all that lies in a folder but the lock: each file's content, each link's target."""
  found = {}
  for path in run.rglob('*'):
    if path.name != '.lock':
      content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
      found[str(path.relative_to(run))] = os.readlink(path) if path.is_symlink() else content
  return found


def kept(run):
  """Returns the names of what was set aside."""
  return sorted(str(path.relative_to(run / 'damaged')) for path in (run / 'damaged').rglob('*') if path.is_file())


# Damage: functions of a run's folder.


def cut(name, to):
  return lambda run: (run / name).write_bytes((run / name).read_bytes()[:to])


def flip(name, place):
  def damage(run):
    content = bytearray((run / name).read_bytes())
    content[place] ^= 0x10
    (run / name).write_bytes(content)

  return damage


def remove(*names):
  def damage(run):
    for name in names:
      path = run / name
      shutil.rmtree(path) if path.is_dir() else path.unlink()

  return damage


def put(name, content):
  def damage(run):
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(content)

  return damage


def folder_instead(name):
  def damage(run):
    (run / name).unlink()
    (run / name).mkdir()

  return damage


def file_instead(name):
  def damage(run):
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).write_bytes(b'a file')

  return damage


def io_error(name):
  """Reading /proc/self/mem from its beginning is a real I/O error."""

  def damage(run):
    (run / name).unlink()
    (run / name).symlink_to('/proc/self/mem')

  return damage


def line(number, change):
  """Changes a line of metrics.csv, which are counted from 1; None takes it away."""

  def damage(run):
    lines = (run / 'metrics.csv').read_bytes().splitlines(keepends=True)
    lines[number - 1 : number] = [] if change is None else [change(lines[number - 1])]
    (run / 'metrics.csv').write_bytes(b''.join(lines))

  return damage


def column_lost(run):
  with (run / 'metrics.csv').open(newline='') as file:
    table = list(csv.reader(file))
  place = table[0].index('train/loss')
  (run / 'metrics.csv').write_text(''.join(','.join(row[:place] + row[place + 1 :]) + '\n' for row in table))


def spreadsheet(run):
  text = (run / 'metrics.csv').read_text()
  (run / 'metrics.csv').write_text('\ufeff' + text.replace(',', ';').replace('.', ',').replace('\n', '\r\n'))


def edited(number):
  def damage(run):
    with (run / 'metrics.csv').open(newline='') as file:
      table = list(csv.reader(file))
    table[number - 1][table[0].index('test/accuracy')] = '0.999'
    (run / 'metrics.csv').write_text(''.join(','.join(row) + '\n' for row in table))

  return damage


def config_value(key, value):
  def damage(run):
    record = json.loads((run / 'config.json').read_text())
    record['config'][key] = value
    (run / 'config.json').write_text(json.dumps(record))

  return damage


def both_emptied(run):
  for name in (OLD_CKPT, NEW_CKPT):
    (run / name).write_bytes(b'')


def another_rounds_checkpoint(run):
  shutil.copy(run / OLD_CKPT, run / NEW_CKPT)


def of_another_run(run):
  """A checkpoint of the same shapes with everything in order, but for its seed."""
  content = sealed.read(run / NEW_CKPT)
  about = json.loads(json.dumps(content.about))
  about['run']['config']['seed'] = 7
  sealed.write(run / NEW_CKPT, about, content.arrays)


ROWS = 'is not what the run wrote'

# name -> (damage, the round that the run goes on from or a part of the line it is refused with, what is said, what is
# kept in damaged/)
TRIALS = {
  'nothing': (lambda run: None, NEWER, '', []),
  # metrics.csv
  'rows: file gone': (remove('metrics.csv'), NEWER, ROWS, []),
  'rows: emptied': (put('metrics.csv', b''), NEWER, ROWS, []),
  'rows: cut in an old row': (cut('metrics.csv', 1500), NEWER, ROWS, ['metrics.csv']),
  'rows: cut in a late row': (cut('metrics.csv', -5), NEWER, '', []),
  'rows: header lost': (line(1, None), NEWER, f'{ROWS} (line 1: ', ['metrics.csv']),
  'rows: a line of garbage': (line(9, lambda old: b'#!%&\n' + old), NEWER, f'{ROWS} (line 9: ', ['metrics.csv']),
  'rows: a late line of garbage': (line(25, lambda old: b'#!%&\n' + old), NEWER, '', []),
  'rows: text in a number': (
    line(9, lambda old: b'x' + old),
    NEWER,
    f'{ROWS} (line 9: ',
    ['metrics.csv'],
  ),
  'rows: a field missing': (
    line(9, lambda old: old.rpartition(b',')[0] + b'\n'),
    NEWER,
    f'{ROWS} (line 9: ',
    ['metrics.csv'],
  ),
  'rows: a field too many': (line(9, lambda old: old[:-1] + b',1\n'), NEWER, f'{ROWS} (line 9: ', ['metrics.csv']),
  'rows: NUL bytes': (line(9, lambda old: bytes(len(old) - 1) + b'\n'), NEWER, f'{ROWS} (line 9: ', ['metrics.csv']),
  'rows: no UTF-8': (line(9, lambda old: b'\xff' + old), NEWER, f'{ROWS} (line 9: it is not text', ['metrics.csv']),
  'rows: a spreadsheet': (spreadsheet, NEWER, f'{ROWS} (line 1: ', ['metrics.csv']),
  'rows: a row lost': (line(9, None), NEWER, f'{ROWS} (line 9: it has round 8, where 7 is due', ['metrics.csv']),
  'rows: a row doubled': (line(9, lambda old: old + old), NEWER, f'{ROWS} (line 10: it has round 7', ['metrics.csv']),
  'rows: a column lost': (column_lost, NEWER, f'{ROWS} (line 2: train/loss is not there', ['metrics.csv']),
  'rows: a value edited': (edited(9), NEWER, f'{ROWS} (line 9: test/accuracy is 0.999', ['metrics.csv']),
  'rows: a late value edited': (edited(25), NEWER, '', []),
  'rows: a folder': (folder_instead('metrics.csv'), 'metrics.csv: Is a directory', '', []),
  'rows: an I/O error': (io_error('metrics.csv'), 'metrics.csv: Input/output error', '', []),
  # config.json
  'config: gone': (remove('config.json'), NEWER, 'config.json is missing. It is written again', []),
  'config: emptied': (put('config.json', b''), NEWER, 'It is written again', ['config.json']),
  'config: half': (cut('config.json', 200), NEWER, 'It is written again', ['config.json']),
  'config: rounds is text': (config_value('rounds', '30'), NEWER, "its number of rounds is '30'", ['config.json']),
  'config: rounds is null': (config_value('rounds', None), NEWER, 'its number of rounds is None', ['config.json']),
  'config: another seed': (config_value('seed', 3), 'holds a run of another config (--seed=3 there, 0 here)', '', []),
  'config: an I/O error': (io_error('config.json'), 'config.json: Input/output error', '', []),
  'config and checkpoints gone': (remove('config.json', 'checkpoints'), 'holds a run, but no config.json', '', []),
  # checkpoints
  'newest: cut': (cut(NEW_CKPT, 3000), OLDER, 'round 20 is passed over', ['metrics.csv', 'round_20.ckpt']),
  'newest: emptied': (put(NEW_CKPT, b''), OLDER, 'round_20.ckpt is empty', ['metrics.csv', 'round_20.ckpt']),
  'newest: a bit': (flip(NEW_CKPT, -500), OLDER, 'round 20 is passed over', ['metrics.csv', 'round_20.ckpt']),
  'newest: a bit of the header': (flip(NEW_CKPT, 60), OLDER, 'is passed over', ['metrics.csv', 'round_20.ckpt']),
  'newest: a folder': (folder_instead(NEW_CKPT), OLDER, 'round_20.ckpt is a folder', ['metrics.csv']),
  'newest: gone': (remove(NEW_CKPT), OLDER, '', []),
  'newest: another round': (
    another_rounds_checkpoint,
    OLDER,
    'no checkpoint of this version and round (it is that of round 14)',
    ['metrics.csv', 'round_20.ckpt'],
  ),
  'newest: another run': (of_another_run, OLDER, 'another run: --seed', ['metrics.csv', 'round_20.ckpt']),
  'newest: an I/O error': (io_error(NEW_CKPT), 'round_20.ckpt: Input/output error', '', []),
  'older: a bit': (flip(OLD_CKPT, -500), NEWER, 'round 14 is passed over', ['round_14.ckpt']),
  'older: an I/O error': (io_error(OLD_CKPT), 'round_14.ckpt: Input/output error', '', []),
  'both: emptied': (
    both_emptied,
    'no checkpoint can be used',
    '',
    [],
  ),
  'both: gone': (remove('checkpoints'), 0, 'has rows and no checkpoint', ['metrics.csv']),
  'checkpoints: a file': (file_instead('checkpoints'), 'checkpoints: Not a directory', '', []),
  'checkpoints: strays': (
    lambda run: [put(f'checkpoints/{name}', b'?')(run) for name in ('round_x.ckpt', 'round_22', '.0.tmp', 'a')],
    NEWER,
    '',
    [],
  ),
  # the rest
  'tensorboard: a file': (file_instead('tensorboard'), 'tensorboard: Not a directory', '', []),
  'tensorboard: garbage': (
    lambda run: [path.write_bytes(b'garbage' * 99) for path in (run / 'tensorboard').iterdir()],
    NEWER,
    '',
    [],
  ),
  'damaged: a file': (file_instead('damaged'), NEWER, '', []),
}


@pytest.mark.parametrize('trial', TRIALS)
def test_a_damaged_folder(runs, tmp_path, trial):
  check(runs, tmp_path, *TRIALS[trial])


def check(runs, tmp_path, damage, comes, *then):
  """Tries one kind of damage: does what must come to the run, and is it said?"""
  runs, killed, expected = runs
  run = tmp_path / 'run'
  shutil.copytree(killed, run, symlinks=True)
  damage(run)
  before = tree(run)
  if isinstance(comes, str):
    with pytest.raises((UserError, RunFailedError, OSError)) as error:
      runs.train(tmp_path)
    assert comes in line_of(error.value)
    assert '\n' not in line_of(error.value)
    assert tree(run) == before
    return
  said, aside = then
  told = runs.train(tmp_path)
  assert rows(run) == expected
  assert (f'going on after round {comes}\n' in told) == bool(comes)
  assert told.count('warning: ') == (1 if said else 0)
  assert said in told
  if (run / 'damaged').is_dir():
    assert [name for name in kept(run) if not name.startswith('client_states/')] == aside
  else:
    assert aside == []
  assert runs.train(tmp_path).count('warning: ') == 0  # once mended, nothing is said any more


def some_state(run, round_num=NEWER):
  """Returns the state that some client has from the round of a checkpoint, and from no other."""
  return next(iter(sorted((run / 'client_states').glob(f'*-{round_num}.state'))))


def state(change):
  """Changes the file of one client that only the newest checkpoint needs."""
  return lambda run: change(some_state(run))


def rewritten(change):
  """Writes a state anew, with a digest that is right."""

  def damage(path):
    content = sealed.read(path)
    numbers = np.array(content.arrays['numbers'])
    change(numbers)
    sealed.write(path, content.about, {'numbers': numbers})

  return state(damage)


def swapped(run):
  first, second, *_ = sorted((run / 'client_states').glob(f'*-{NEWER}.state'))
  aside = run / 'aside'
  for path, to in ((first, aside), (second, first), (aside, second)):
    path.rename(to)


def of_a_round_before(run):
  path = some_state(run)
  client = path.name.partition('-')[0]
  others = [other for other in path.parent.glob(f'{client}-*.state') if other != path]
  shutil.copy(others[0] if others else some_state(run, OLDER), path)


def row_of_the_table_lost(run):
  """The digest is right, as if the suite itself had lost it."""
  content = sealed.read(run / NEW_CKPT)
  arrays = dict(content.arrays, clients=content.arrays['clients'][:-1])
  sealed.write(run / NEW_CKPT, content.about, arrays)


STATES = {
  'a bit': state(lambda path: flip(path.name, -50)(path.parent)),
  'zeroed': state(lambda path: path.write_bytes(bytes(path.stat().st_size))),
  'emptied': state(lambda path: path.write_bytes(b'')),
  'cut': state(lambda path: path.write_bytes(path.read_bytes()[:-9])),
  'gone': state(pathlib.Path.unlink),
  'a folder': state(lambda path: (path.unlink(), path.mkdir())),
  'an archive': state(lambda path: np.savez(path.open('wb'), numbers=np.zeros(3))),
  'another number': rewritten(lambda numbers: numbers.__setitem__(3, 0.5)),
  'NaN': rewritten(lambda numbers: numbers.__setitem__(3, np.nan)),
  'two swapped': swapped,
  'of a round before': of_a_round_before,
  'a row of the table lost': row_of_the_table_lost,
}


@pytest.mark.parametrize('trial', STATES)
def test_a_damaged_state_of_a_client(runs, tmp_path, trial):
  """It is noticed, and the checkpoint before, which does not need it, is taken."""
  if not (runs[1] / 'client_states').exists():
    pytest.skip('clients keep nothing')
  check(
    runs, tmp_path, STATES[trial], OLDER, 'the checkpoint of round 20 is passed over', ['metrics.csv', 'round_20.ckpt']
  )


def test_one_checkpoint_alone_brings_back_config_and_rows(runs, tmp_path):
  runs, killed, expected = runs
  shutil.copytree(killed, tmp_path / 'run')
  remove('config.json', 'metrics.csv', 'tensorboard', OLD_CKPT)(tmp_path / 'run')
  told = runs.train(tmp_path)
  assert 'config.json is missing. It is written again from a checkpoint.' in told
  assert ROWS in told
  assert rows(tmp_path / 'run') == expected


def test_damage_to_a_state_while_the_run_goes_on_ends_it(runs, tmp_path):
  """On disk, a state is read when its client works again."""
  runs, killed, expected = runs
  if 'disk' not in runs._flags.values():
    pytest.skip('clients keep nothing on disk')
  run = tmp_path / 'run'
  shutil.copytree(killed, run)
  real = sealed.read
  with contextlib.ExitStack() as stack:
    stack.callback(setattr, sealed, 'read', real)
    reads = []

    def read(path):
      reads.append(path)
      if path.suffix == '.state' and reads.count(path) == 2:  # the first time is the start's
        flip(path.name, -50)(path.parent)
      return real(path)

    sealed.read = read
    with pytest.raises(
      RunFailedError, match=r'\.state is damaged: .*The same command goes on from the newest checkpoint'
    ):
      runs.train(tmp_path)
  with contextlib.suppress(UserError):  # it may be a state that both checkpoints need
    runs.train(tmp_path)
    assert rows(run) == expected
