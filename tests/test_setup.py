# SPDX-License-Identifier: Apache-2.0
"""scripts/setup.sh and the Makefile on machines made of stubs: a PATH with the programs that a machine has, no more.

The stub of Python "installs" by writing what it was asked for to a log, so nothing is fetched here.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = (
  *('bash', 'cat', 'chmod', 'dirname', 'flock', 'getconf', 'grep', 'head', 'make'),
  *('mkdir', 'mv', 'rm', 'sh', 'sleep', 'sort', 'tail', 'touch', 'uname'),
)
LONG_AGO, LATER = 1e9, 4e9  # times of files, before and after any installation in a test

# A Python 3.11 that makes a .venv whose Python is itself; $PIP is what its pip does.
PYTHON = r"""#!/bin/sh
case "$*" in
  '-m venv .venv') mkdir -p .venv/bin && touch .venv/made && cat "$0" > .venv/bin/python && chmod +x .venv/bin/python ;;
  '-m pip install '*) echo "pip PYTHONPATH=$PYTHONPATH" >> log; echo "$*" >> locks; eval "$PIP" ;;
  '-m '*) echo "$*" >> log ;;
esac
"""
NO_PYTHON = '#!/bin/sh\nexit 127\n'  # such as a shim of pyenv without a version behind it
OTHER_PYTHON = '#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; esac\n'
NO_ENSUREPIP = '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\n'


class Machine:
  """A checkout in a folder with a space in its name, and a PATH of stubs."""

  def __init__(self, folder: pathlib.Path):
    self.checkout, self.bin = folder / 'a checkout', folder / 'bin'
    (self.checkout / 'scripts').mkdir(parents=True)
    self.bin.mkdir()
    for name in ['Makefile', 'scripts/setup.sh']:
      shutil.copy(ROOT / name, self.checkout / name)
    for name, text in [
      ('requirements.txt', 'a==1\nb==2\n'),
      ('requirements-dev.txt', 'c==3\n'),
      ('requirements-ray.txt', 'a==1\nray==4\n'),
    ]:
      (self.checkout / name).write_text(text)
      self.date(name, LONG_AGO)
    for name in PROGRAMS:
      (self.bin / name).symlink_to(shutil.which(name))

  def has(self, program: str, text: str):
    """Puts a stub on the PATH."""
    path = self.bin / program
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)

  def date(self, name: str, seconds: float):
    """Dates a file of the checkout."""
    os.utime(self.checkout / name, (seconds, seconds))

  def start(self, *command: str, **environ: str) -> subprocess.Popen:
    """Starts a command in the checkout."""
    return subprocess.Popen(
      command,
      cwd=self.checkout,
      env={'PATH': str(self.bin), 'HOME': str(self.checkout), **environ},
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  def call(self, *command: str, **environ: str) -> subprocess.CompletedProcess:
    """Runs a command in the checkout."""
    with self.start(*command, **environ) as process:
      output, errors = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)

  def set_up(self, **environ: str) -> subprocess.CompletedProcess:
    """Runs the set-up script."""
    return self.call('bash', 'scripts/setup.sh', **environ)

  @property
  def log(self) -> list[str]:
    """What the stub of Python was asked for."""
    path = self.checkout / 'log'
    return path.read_text().splitlines() if path.exists() else []

  @property
  def locks(self) -> list[str]:
    """The locks that the stub of pip was asked for, a line for each call."""
    calls = (self.checkout / 'locks').read_text().splitlines()
    return [' '.join(word for word in call.split() if word.endswith('.txt')) for call in calls]

  @property
  def is_ready(self) -> bool:
    """Whether the set-up left its stamp."""
    return (self.checkout / '.venv/.installed').exists()


@pytest.fixture
def machine(tmp_path):
  """A machine with Python 3.11."""
  machine = Machine(tmp_path)
  machine.has('python3.11', PYTHON)
  return machine


@pytest.mark.parametrize(
  ('program', 'text', 'refusal'),
  [
    ('uname', '#!/bin/sh\necho Darwin arm64\n', 'Darwin arm64'),
    ('uname', '#!/bin/sh\necho Linux aarch64\n', 'Linux aarch64'),
    ('getconf', '#!/bin/sh\necho glibc 2.28\n', 'glibc 2.28 is too old'),
    ('getconf', '#!/bin/sh\necho glibc 2.4\n', 'glibc 2.4 is too old'),
    ('getconf', NO_PYTHON, 'no glibc'),
    ('python3.11', NO_PYTHON, 'no Python 3.11'),
    ('python3.11', OTHER_PYTHON, 'no Python 3.11'),
    ('python3.11', NO_ENSUREPIP, 'apt install python3.11-venv'),
  ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(machine, program, text, refusal):
  machine.has(program, text)
  result = machine.set_up()
  assert result.returncode == 1
  assert result.stdout == ''
  assert len(result.stderr.splitlines()) == 1
  assert result.stderr.startswith('setup: ')
  assert refusal in result.stderr
  assert not (machine.checkout / '.venv').exists()


def test_it_installs_once(machine):
  first = machine.set_up()
  assert first.returncode == 0
  assert 'installing 3 packages' in first.stdout
  assert len(machine.log) == 1
  second = machine.set_up()
  assert (second.returncode, second.stdout, second.stderr) == (0, '', '')
  assert len(machine.log) == 1


@pytest.mark.parametrize('lock', ['requirements.txt', 'requirements-dev.txt'])
def test_a_newer_lock_is_installed_and_what_was_added_stays(machine, lock):
  machine.set_up()
  (machine.checkout / '.venv/added').touch()
  machine.date(lock, LATER)
  assert 'up to date' in machine.set_up().stdout
  assert len(machine.log) == 2
  assert (machine.checkout / '.venv/added').exists()


def test_a_lock_that_changes_while_it_is_being_installed_is_installed_again(machine):
  machine.set_up(PIP='sleep 0.1; touch requirements.txt')
  machine.set_up()
  assert len(machine.log) == 2


def test_a_failed_installation_is_not_trusted(machine):
  result = machine.set_up(PIP='exit 1')
  assert result.returncode == 1
  assert 'not finished' in result.stderr
  assert not machine.is_ready
  (machine.checkout / '.venv/left').touch()
  assert machine.set_up().returncode == 0
  assert machine.is_ready
  assert not (machine.checkout / '.venv/left').exists()


def test_of_what_pip_says_only_errors_are_shown(machine):
  result = machine.set_up(PIP='echo chatter; echo "ERROR: no such hash"; exit 1')
  assert 'ERROR: no such hash\n' in result.stderr
  assert 'chatter' not in result.stdout + result.stderr
  assert 'chatter' in (machine.checkout / '.venv/pip.log').read_text()
  assert 'chatter' not in machine.set_up(PIP='echo chatter').stdout


def test_a_failed_update_is_not_trusted(machine):
  machine.set_up()
  machine.date('requirements.txt', LATER)
  assert machine.set_up(PIP='exit 1').returncode == 1
  assert not machine.is_ready


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_installation_is_not_trusted(machine, number):
  with machine.start('make', 'setup', PIP='sleep 600') as process:
    _wait_for(lambda: machine.log)
    os.killpg(process.pid, number)
  assert process.returncode
  assert not machine.is_ready
  assert machine.set_up().returncode == 0
  assert machine.is_ready


def test_a_venv_made_by_hand_or_without_its_python_is_made_anew(machine):
  (machine.checkout / '.venv/bin').mkdir(parents=True)
  (machine.checkout / '.venv/bin/python').symlink_to('/no/such/python')
  (machine.checkout / '.venv/.installed').touch()
  assert 'installing' in machine.set_up().stdout
  assert (machine.checkout / '.venv/made').exists()


def test_a_python_that_does_not_run_is_passed_over(machine):
  machine.has('python3', PYTHON)
  machine.has('python3.11', NO_PYTHON)
  result = machine.set_up()
  assert result.returncode == 0
  assert f'{machine.bin}/python3 ' in result.stdout


def test_uv_brings_a_python_where_there_is_none(machine):
  python = machine.bin / 'python3.11'
  machine.has('uv', f'#!/bin/sh\necho "uv $*" >> log\nexec "{python}.hidden" -m venv .venv\n')
  python.rename(f'{python}.hidden')
  assert machine.set_up().returncode == 0
  assert machine.log[0] == 'uv venv --quiet --no-project --python 3.11 --seed .venv'
  assert machine.is_ready


BASE, RAY = 'requirements.txt requirements-dev.txt', 'requirements-ray.txt'
INSTALLED = 'echo "Successfully installed ray-4"'


def test_without_an_extra_its_lock_is_nobodys_concern(machine):
  machine.set_up()
  machine.date(RAY, LATER)
  assert machine.set_up().stdout == ''
  assert machine.locks == [BASE]


def test_an_extra_is_added_and_a_second_call_says_that_there_is_nothing_to_do(machine):
  first = machine.call('make', 'ray', PIP=INSTALLED)
  assert first.returncode == 0
  assert 'installing the 2 packages of requirements-ray.txt' in first.stdout
  assert machine.locks == [BASE, RAY]
  assert machine.call('make', 'ray').stdout == 'setup: nothing to do: .venv has what requirements-ray.txt says.\n'
  assert machine.set_up().stdout == ''


def test_an_extra_that_pip_has_removed_since_is_installed_again(machine):
  machine.call('make', 'ray', PIP=INSTALLED)
  again = machine.call('make', 'ray', PIP=INSTALLED)
  assert again.stdout.startswith('setup: done')
  assert machine.locks == [BASE, RAY, RAY]


def test_an_update_takes_an_extra_along(machine):
  machine.call('make', 'ray', PIP=INSTALLED)
  machine.date('requirements.txt', LATER)
  assert machine.set_up().returncode == 0
  assert machine.locks[2:] == [f'{BASE} {RAY}']


def test_a_newer_lock_of_an_extra_alone_is_installed_by_any_target(machine):
  machine.call('make', 'ray', PIP=INSTALLED)
  machine.date('.venv/.installed-ray', LONG_AGO - 1)
  assert machine.set_up().returncode == 0
  assert machine.locks[2:] == [RAY]
  assert machine.set_up().stdout == ''
  assert len(machine.locks) == 3


def test_a_failed_update_does_not_forget_an_extra(machine):
  machine.call('make', 'ray', PIP=INSTALLED)
  machine.date('requirements.txt', LATER)
  assert machine.set_up(PIP='exit 1').returncode == 1
  machine.date('requirements.txt', LONG_AGO)
  assert machine.set_up(PIP='exit 1').returncode == 1
  assert machine.set_up().returncode == 0
  assert machine.locks[4:] == [f'{BASE} {RAY}']
  assert machine.set_up().stdout == ''


def test_an_extra_that_fails_harms_nothing_else(machine):
  machine.set_up()
  result = machine.call('make', 'ray', PIP='echo "ERROR: no such hash"; exit 1')
  assert result.returncode == 2
  assert 'ERROR: no such hash\nsetup: ray is not installed (all' in result.stderr
  assert machine.is_ready
  assert machine.set_up().stdout == ''
  assert 'installing' in machine.call('make', 'ray', PIP=INSTALLED).stdout


def test_without_a_network_one_line_says_so(machine):
  machine.set_up()
  retries = 'echo "WARNING: Retrying (Retry(total=0, connect=None)) after"; echo "ERROR: No matching"; exit 1'
  result = machine.call('bash', 'scripts/setup.sh', 'ray', PIP=retries)
  assert result.stderr == (
    'setup: ray is not installed: the index of packages does not answer (all that pip said: .venv/pip.log); '
    'the rest of .venv is as it was.\n'
  )
  machine.date('requirements.txt', LATER)
  assert machine.set_up(PIP=retries).stderr.startswith('setup: not finished: the index of packages does not answer')


def test_an_extra_that_there_is_not_is_refused(machine):
  result = machine.call('bash', 'scripts/setup.sh', 'rya')
  assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
  assert 'requirements-rya.txt' in result.stderr
  assert not (machine.checkout / '.venv').exists()


def test_two_calls_at_a_time_install_once(machine):
  with machine.start('bash', 'scripts/setup.sh', PIP='sleep 1') as first:
    _wait_for(lambda: machine.log)
    second = machine.set_up(PIP='sleep 1')
    assert first.wait(timeout=30) == 0
  assert second.returncode == 0
  assert second.stdout == 'setup: another installation is at work here; waiting for it ...\n'
  assert len(machine.log) == 1


def test_two_targets_at_a_time_install_once(machine):
  assert machine.call('make', '-s', '-j2', 'run', 'test', ARGS='--x').returncode == 0
  assert machine.log[0].startswith('pip')
  assert sorted(machine.log[1:]) == [
    '-m fedprox_tff.run --mu=1 --stragglers=0.5 --fallback_dataset=digits --x',
    '-m pytest --x',
  ]


def test_the_callers_environment_stays_outside(machine):
  assert machine.set_up(PYTHONPATH='/elsewhere').returncode == 0
  assert machine.log == ['pip PYTHONPATH=']


def test_it_can_be_called_from_elsewhere(machine):
  script = machine.checkout / 'scripts/setup.sh'
  machine.checkout = machine.checkout.parent
  assert machine.call('bash', str(script)).returncode == 0
  assert (script.parent.parent / '.venv/.installed').exists()


def test_a_dry_run_installs_nothing(machine):
  assert 'setup.sh' in machine.call('make', '-n', 'run').stdout
  assert not (machine.checkout / '.venv').exists()


def test_a_failing_program_fails_make(machine):
  machine.has('python3.11', PYTHON.replace('echo "$*" >> log ;;', 'exit 3 ;;'))
  result = machine.call('make', 'lint')
  assert result.returncode == 2
  assert 'Error 3' in result.stderr


def test_make_alone_lists_the_targets(machine):
  (machine.bin / 'awk').symlink_to(shutil.which('awk'))
  shown = machine.call('make').stdout
  for target in ['run', 'test', 'lint', 'format', 'bench', 'doctor', 'gpu', 'ray', 'lock', 'clean']:
    assert f'make {target} ' in shown
  assert not (machine.checkout / '.venv').exists()


def _wait_for(condition):
  for _ in range(200):
    if condition():
      return
    time.sleep(0.05)
  raise AssertionError('it did not happen within 10 s')
