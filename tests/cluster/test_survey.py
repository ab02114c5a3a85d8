# SPDX-License-Identifier: Apache-2.0
"""The doctor's questions to a cluster of two nodes on this machine."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from fedprox_tff import doctor
from fedprox_tff.cluster import diagnosis
from fedprox_tff.cluster.versions import versions
from fedprox_tff.machine import probes

pytest.importorskip('ray')


@pytest.fixture(scope='module')
def cluster():
  """Two nodes with one CPU each: the address, and the process of the second one.

  They are started as users do, and with a folder of their own. `ray.cluster_utils.Cluster` would write their address to
  where Ray keeps that for 'auto', which may be that of a cluster in use. The folder's path is short: sockets are in it.
  """
  with tempfile.TemporaryDirectory(prefix='ray', ignore_cleanup_errors=True) as name, contextlib.ExitStack() as stack:
    folder = pathlib.Path(name)
    stack.enter_context(
      node(folder / 'head.log', '--head', '--port=0', '--include-dashboard=false', f'--temp-dir={folder}')
    )
    address = (folder / 'ray_current_cluster').read_text()
    second = stack.enter_context(node(folder / 'second.log', f'--address={address}'))
    yield address, second


@contextlib.contextmanager
def node(log, *options):
  """A node for the block; yields its process, of which all others of the node are children."""
  ray = pathlib.Path(sys.executable).with_name('ray')
  command = [ray, 'start', '--num-cpus=1', '--disable-usage-stats', '--block', *options]
  with log.open('w') as file:
    process = subprocess.Popen(
      command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
    )
  try:
    _assert_soon(lambda: 'block forever' in log.read_text() or process.poll() is not None, seconds=60)
    assert process.poll() is None, log.read_text()
    yield psutil.Process(process.pid)
  finally:
    everybody = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    _, left = psutil.wait_procs(everybody, timeout=10)
    for one in left:
      one.kill()
    process.kill()
    process.wait()


def ask(address, file, seconds):
  return probes.ask(diagnosis.SURVEY.format(address=address, file=str(file), seconds=seconds), 60)


def test_each_node_answers_and_nothing_is_left(cluster, tmp_path):
  address, _ = cluster
  before = _processes()
  ray, head, *nodes = doctor.examine_cluster(address, str(tmp_path), 60)
  assert (ray.status, head.status) == ('ok', 'ok')
  assert '2 nodes, 2 CPUs' in head.found
  assert len(nodes) == 2
  for node in nodes:
    assert node.status == 'ok'
    assert node.found.endswith(f'1 CPU; same versions; sees {tmp_path}')
  assert list(tmp_path.iterdir()) == []
  _assert_soon(lambda: _processes() <= before)


def test_a_file_that_is_not_there_is_not_seen(cluster, tmp_path):
  address, _ = cluster
  answer = ask(address, tmp_path / 'none', 30)
  _, *nodes = diagnosis.check_cluster(address, answer, diagnosis.Trace('/x', '/x/y', 'a word'))
  assert [node.status for node in nodes] == ['warn', 'warn']
  assert all('does not see /x (No such file or directory)' in node.found for node in nodes)


def test_a_node_that_hangs_is_named_in_time(cluster, tmp_path):
  address, second = cluster
  (tmp_path / 'file').write_text('a word')
  (raylet,) = (process for process in second.children(recursive=True) if process.name() == 'raylet')
  raylet.suspend()
  try:
    answer = ask(address, tmp_path / 'file', 5)
  finally:
    raylet.resume()
  assert answer.problem == ''
  _, *nodes = diagnosis.check_cluster(address, answer, diagnosis.Trace('/x', '/x/y', 'a word'))
  assert sorted(node.status for node in nodes) == ['ok', 'warn']
  assert any('did not answer in time' in node.found for node in nodes)


def test_an_address_at_which_nobody_listens_is_refused():
  ray, cluster = doctor.examine_cluster('127.0.0.1:1', 'results', 60)
  assert (ray.status, cluster.status) == ('ok', 'FAIL')
  assert 'no cluster answers there' in cluster.found


def test_an_address_whose_cluster_is_gone_is_refused_at_once(monkeypatch):
  monkeypatch.setenv('RAY_ADDRESS', '127.0.0.1:1')
  _, cluster = doctor.examine_cluster('auto', 'results', 60)
  assert (cluster.status, 'no cluster answers' in cluster.found) == ('warn', True)


def test_versions_are_told_without_tensorflow():
  code = (
    'import sys; from fedprox_tff.cluster import survey; print(survey.versions(), '
    '[name for name in sys.modules if name.startswith(("tensorflow", "ray"))])'
  )
  assert probes.ask(code, 30).output == f'{versions()} []'
  assert 'missing' not in versions().values()


def _processes():
  """Returns the workers of all nodes."""
  here = psutil.Process().children(recursive=True)
  return {process.pid for process in here if _name(process).startswith(('ray::', 'default_worker'))}


def _name(process):
  try:
    return pathlib.Path((process.cmdline() or [''])[0]).name
  except psutil.NoSuchProcess:
    return ''


def _assert_soon(condition, seconds=10):
  for _ in range(10 * seconds):
    if condition():
      return
    time.sleep(0.1)
  raise AssertionError(f'it did not happen within {seconds} s')
