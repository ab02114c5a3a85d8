# SPDX-License-Identifier: Apache-2.0
"""The doctor's judgement of values, and its questions to processes that fail, hang or leave others behind."""

import subprocess
import sys
import time

import psutil
import pytest

from fedprox_tff import doctor
from fedprox_tff.machine import probes
from fedprox_tff.machine.resources import GIB

ANSWER = probes.Answer(output='', problem='', seconds=1.0)
ONE_PIN = {'numpy': '1.25.2'}


@pytest.mark.parametrize(
  ('finding', 'status', 'found'),
  [
    (doctor.check_python((3, 11, 7)), 'ok', '3.11.7'),
    (doctor.check_python((3, 12, 0, 'final', 0)), 'FAIL', '3.12.0, and 3.11 is needed'),
    (doctor.check_platform('Linux', 'x86_64'), 'ok', 'Linux x86_64'),
    (doctor.check_platform('Linux', 'aarch64'), 'FAIL', 'Linux aarch64'),
    (doctor.check_platform('Darwin', 'x86_64'), 'FAIL', 'Darwin x86_64'),
    (doctor.check_glibc('glibc', '2.31'), 'ok', 'glibc 2.31'),
    (doctor.check_glibc('glibc', '2.4'), 'FAIL', 'glibc 2.4, and'),
    (doctor.check_glibc('glibc', '3.0.1'), 'ok', 'glibc 3.0.1'),
    (doctor.check_glibc('', ''), 'FAIL', 'unknown'),
    (doctor.check_packages(ONE_PIN, {'numpy': '1.25.2'}), 'ok', 'all 1'),
    (doctor.check_packages({}, {}), 'warn', 'in a clone'),
    (
      doctor.check_packages(ONE_PIN, {'numpy': '1.26.0'}),
      'warn',
      '1 of 1 differ from the lock: numpy 1.26.0, not 1.25.2',
    ),
    (doctor.check_packages(ONE_PIN, {'numpy': None}), 'FAIL', '1 of 1 are missing: numpy'),
    (doctor.check_resources(2, 1.5 * GIB), 'ok', '2 cores, 1.5 GiB'),
    (doctor.check_resources(2, 0.5 * GIB), 'warn', '0.5 GiB'),
    (doctor.check_proxy({}), 'ok', 'none'),
    (doctor.check_proxy({'http_proxy': ''}), 'ok', 'none'),
    (doctor.check_proxy({'http_proxy': 'http://p:1', 'no_proxy': 'a.b'}), 'warn', 'http_proxy without'),
    (
      doctor.check_proxy({'https_proxy': 'http://p:1', 'no_proxy': 'a.b, localhost,127.0.0.1'}),
      'ok',
      'https_proxy; no',
    ),
    (doctor.check_mnist(ANSWER._replace(output='/data/mnist')), 'ok', '/data/mnist'),
    (doctor.check_mnist(ANSWER), 'warn', 'downloads'),
    (
      doctor.check_mnist(ANSWER._replace(problem='fedprox_tff.core.errors.UserError: x is not a folder')),
      'FAIL',
      'x is not a folder',
    ),
    (doctor.check_gpus(ANSWER._replace(output='/physical_device:GPU:0'), has_driver=True), 'ok', 'GPU:0'),
    (doctor.check_gpus(ANSWER, has_driver=True), 'warn', 'sees no GPU'),
    (doctor.check_gpus(ANSWER, has_driver=False), 'ok', 'CPU'),
    (doctor.check_gpus(ANSWER._replace(problem='ImportError: x'), has_driver=False), 'FAIL', 'ImportError: x'),
    (doctor.check_runtime('worker', ANSWER._replace(output='42', seconds=7.4)), 'ok', '7 s'),
    (doctor.check_runtime('worker', ANSWER._replace(output='41')), 'FAIL', "'41', not 42"),
    (doctor.check_runtime('worker', ANSWER._replace(output='42', problem='x (exit status -6)')), 'FAIL', '-6'),
    (doctor.check_runtime('worker', ANSWER._replace(problem='no answer within 60 s')), 'FAIL', 'no answer within 60 s'),
  ],
)
def test_check(finding, status, found):
  assert finding.status == status
  assert found in finding.found
  assert status == 'ok' or finding.cure
  assert '\n' not in finding.found + finding.cure


def test_all_packages_that_differ_are_counted_but_not_all_are_named():
  pins = {f'package{i}': '1' for i in range(20)}
  finding = doctor.check_packages(pins, dict.fromkeys(pins, '2'))
  assert '20 of 20' in finding.found
  assert finding.found.endswith('package7 2, not 1 and 12 more')


def test_a_finding_is_one_line_and_its_cure_a_second():
  assert str(doctor.Finding('ok', 'Python', '3.11.7')) == 'ok    Python: 3.11.7'
  assert str(doctor.Finding('FAIL', 'Python', '3.12', 'take 3.11')).splitlines() == [
    'FAIL  Python: 3.12',
    '      -> take 3.11',
  ]


def test_pins_are_read_from_the_lock():
  pins = doctor.read_pins((probes.ROOT / 'requirements.txt').read_text())
  assert pins['tensorflow-federated'] == '0.87.0'
  assert doctor.read_pins('# a==1\nb-c==2.0 \\\n    --hash=sha256:00\nd==3 ; x\n') == {'b-c': '2.0', 'd': '3'}


def test_versions_are_those_of_the_imported_packages():
  assert doctor.installed_version('pytest') == pytest.__version__
  assert doctor.installed_version('no-such-package') is None


def test_a_probe_answers_with_its_last_line():
  answer = probes.ask('print(1)\nprint(42)', timeout=30)
  assert (answer.output, answer.problem) == ('42', '')


def test_a_probe_that_fails_says_why():
  assert probes.ask('raise ValueError("broken")', timeout=30).problem == 'ValueError: broken (exit status 1)'
  assert probes.ask('import os; os.abort()', timeout=30).problem.endswith('(exit status -6)')


def test_a_probe_that_hangs_is_ended_in_time_with_all_that_it_started():
  start = time.monotonic()
  code = 'import subprocess, time; print(subprocess.Popen(["sleep", "600"]).pid, flush=True); time.sleep(600)'
  answer = probes.ask(code, timeout=2)
  assert time.monotonic() - start < 30
  assert answer.problem == 'no answer within 2 s'
  _assert_ends(int(answer.output))


def test_a_probe_that_ends_well_leaves_no_process_behind():
  answer = probes.ask('import subprocess; print(subprocess.Popen(["sleep", "600"]).pid)', timeout=30)
  assert answer.problem == ''
  _assert_ends(int(answer.output))


@pytest.mark.parametrize('runtime', ['in_process', 'worker'])
def test_the_runtimes_of_this_machine_answer(runtime):
  finding = doctor.check_runtime(runtime, probes.ask(doctor.RUNTIME.format(runtime=runtime), timeout=120))
  assert finding.status == 'ok', finding


def test_the_doctor_itself_needs_only_the_standard_library():
  code = (
    'import sys; import fedprox_tff.doctor; print({"tensorflow", "numpy", "absl", "ray"} & set(sys.modules) or "none")'
  )
  assert probes.ask(code, timeout=30).output == 'none'


def test_help_comes_at_once():
  start = time.monotonic()
  shown = subprocess.run(
    [sys.executable, '-m', 'fedprox_tff.doctor', '--help'], capture_output=True, text=True, check=True, cwd=probes.ROOT
  )
  assert '--data_dir' in shown.stdout
  assert time.monotonic() - start < 2


def test_without_ray_one_line_says_so_and_nobody_is_asked(monkeypatch):
  monkeypatch.setattr(doctor, 'installed_version', lambda name: None)
  (finding,) = doctor.examine_cluster('auto', 'results', 60)
  assert (finding.status, finding.what) == ('ok', 'Ray')
  assert finding.found.startswith('not installed')


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('--ray_address=local', "--ray_address: 'local' came, and auto or HOST:PORT is needed."),
    ('--ray_address=host', "--ray_address: 'host' came, and auto or HOST:PORT is needed."),
    ('--timeout=0', "--timeout: '0' came, and a number above 0 is needed."),
    ('--timeout=nan', "--timeout: 'nan' came, and a number above 0 is needed."),
    ('--timeout=x', "--timeout: 'x' came, and a number above 0 is needed."),
    ('--x', 'unrecognized arguments: --x'),
  ],
)
def test_bad_input_is_one_line(flag, said, monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['doctor', flag])
  with pytest.raises(SystemExit, match='2'):
    doctor.main()
  assert capsys.readouterr().err == f'error: {said}\n'


def _assert_ends(pid):
  """Asserts that a process has been killed; it is a zombie until its new parent, whoever that is, has asked for it."""
  for _ in range(50):
    try:
      if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
        return
    except psutil.NoSuchProcess:
      return
    time.sleep(0.1)
  raise AssertionError(f'process {pid} is still there')
