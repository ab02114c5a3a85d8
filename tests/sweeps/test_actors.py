# SPDX-License-Identifier: Apache-2.0
"""Sweeps on a Ray cluster of two nodes: the bits of processes, whoever dies, sleeps, is cut off or sees no results."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

pytest.importorskip('ray', reason='"make ray" installs Ray')

from ray.cluster_utils import Cluster

from fedprox_tff import sweep
from fedprox_tff.cluster import connection
from fedprox_tff.cluster.place import Place
from fedprox_tff.cluster.versions import versions
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import RunFailedError
from fedprox_tff.machine.resources import GIB
from fedprox_tff.sweeps import actors, grids, status, worker, worker_actor
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.sweeps.session_folder import SessionFolder
from fedprox_tff.sweeps.worker_actor import Job, WorkerActor
from fedprox_tff.training import checkpoint_file, run_folder
from tests.ray_nodes import soon
from tests.test_run import lasting, read_rows

ROOT = pathlib.Path(__file__).parents[2]
GRID = """
[base]
dataset = 'digits'
rounds = 200 # so that the last actor to start still finds a cell
epochs = 1
clients_per_round = 4
rounds_per_checkpoint = 6
[grid]
seed = [0, 1, 2, 3, 4, 5, 6, 7]
"""
# Ray shall soon take a node for dead whose raylet does not answer.
HEALTH = {
  'health_check_initial_delay_ms': 0,
  'health_check_period_ms': 500,
  'health_check_timeout_ms': 500,
  'health_check_failure_threshold': 3,
}


@pytest.fixture
def rays(monkeypatch):
  """The folder of all Ray that a test starts, and leaves nothing of; its path is short, since sockets are in it."""
  folder = tempfile.mkdtemp(prefix='ray', dir='/tmp')
  monkeypatch.setenv('RAY_TMPDIR', folder)
  yield folder
  assert soon(lambda: not of(folder))
  shutil.rmtree(folder)


def of(rays):
  """Returns the processes that have a folder for Ray."""
  found = []
  for process in psutil.process_iter():
    with contextlib.suppress(psutil.Error):
      if process.environ().get('RAY_TMPDIR') == rays and process.pid != os.getpid():
        found.append(process)
  return found


@pytest.fixture(scope='module')
def grid(tmp_path_factory):
  path = tmp_path_factory.mktemp('grid') / 'digits.toml'
  path.write_text(GRID)
  return path


def configs_of(grid, results, **flags):
  return [cell.config for cell in grids.read(grid, {'results_dir': str(results), **flags}).cells]


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, grid):
  """The rows of one worker, in this process."""
  configs = configs_of(grid, tmp_path_factory.mktemp('undisturbed'))
  work(configs, worker.Stop())
  return metrics(configs)


def work(configs, stop):
  """Does what a process of a sweep does."""
  session = SessionFolder(configs, since=Claims(status.claims_folder(configs[0])).since)
  command = list(sys.orig_argv)
  worker.work(session.path, stop)
  sys.orig_argv[:] = command
  session.close()


class StopAfter(worker.Stop):
  """Stops a worker in the middle."""

  def __init__(self, configs, num_rounds):
    self._configs, self._num_rounds = configs, num_rounds

  @property
  def is_requested(self):
    return total_rounds(self._configs) >= self._num_rounds


def start(grid, out, *flags, **environment):
  command = [sys.executable, '-m', 'fedprox_tff.sweep', str(grid), '--engine=ray', *flags]
  with out.open('w') as file:
    return subprocess.Popen(
      command,
      cwd=ROOT,
      env=os.environ | environment,
      stdin=subprocess.DEVNULL,
      stdout=file,
      stderr=file,
      start_new_session=True,
    )


def wait_for(condition, process, seconds=60):
  deadline = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, 'the sweep ended too early'
    assert time.monotonic() < deadline
    time.sleep(0.01)


def metrics(configs):
  return {config.name: lasting(read_rows(run_folder.folder(config))) for config in configs}


def total_rounds(configs):
  return sum(run_folder.rounds_done(config) for config in configs)


def num_done(configs):
  return sum(run_folder.is_done(config) for config in configs)


def owners(configs):
  """Returns the processes that have a cell, and this cell."""
  claims = Claims(status.claims_folder(configs[0]), since=0.0)
  records = claims.records()
  held = [c for c in configs if c.name in records and claims.is_held(records[c.name])]
  return {records[c.name].pid: c for c in held if records[c.name].pid}  # none as long as a claim is being written


def halt_in_the_middle(of_raylet, configs):
  """Stops a worker of a raylet in the middle of a cell, and returns it and the cell; None if it had none."""
  for pid, config in owners(configs).items():
    actor = psutil.Process(pid) if psutil.pid_exists(pid) else None
    if actor is not None and actor.ppid() == of_raylet.pid:
      actor.suspend()
      if owners(configs).get(pid) == config and 2 <= run_folder.rounds_done(config) < config.rounds - 5:
        return actor, config
      actor.resume()
  return None


def test_a_killed_actor_and_one_whose_link_is_cut_leave_the_bits_as_they_are(grid, undisturbed, rays, tmp_path):
  """Ray takes the node of an actor for dead that sleeps and then goes on; spare ones must not take its cell.

  A process has begun the sweep. A third node has another home, so that it does not see the results.
  """
  home, out = {'HOME': str(tmp_path)}, tmp_path / 'out'
  configs = configs_of(grid, tmp_path / 'results')
  work(configs, StopAfter(configs, 20))
  assert 20 <= total_rounds(configs) < 400
  head = {'num_cpus': 1, 'include_dashboard': False, '_system_config': HEALTH, 'env_vars': home}
  cluster = Cluster(initialize_head=True, head_node_args=head)
  # Addresses of their own: the sweep joins a node that has its address.
  cut = cluster.add_node(num_cpus=1, env_vars=home, node_ip_address='127.0.0.2')
  raylet, halted, killed = psutil.Process(cut.all_processes['raylet'][0].process.pid), [], set()
  cluster.add_node(num_cpus=1, env_vars={'HOME': '/elsewhere'}, node_ip_address='127.0.0.3')
  address = f'--ray_address={cluster.address}'
  process = start(grid, out, '--results_dir=~/results', address, '--jobs=2', **home)
  try:
    wait_for(lambda: halted.append(halt_in_the_middle(raylet, configs)) or halted[-1], process)
    sleeper, its_cell = halted[-1]
    raylet.suspend()
    wait_for(lambda: killed.update(set(owners(configs)) - {sleeper.pid}) or killed, process)
    os.kill(killed.pop(), signal.SIGKILL)
    wait_for(lambda: num_done(configs) == 7 and len(owners(configs)) == 1, process)
    wait_for(lambda: not all(node['Alive'] for node in cluster.global_state.node_table()), process)
    written = run_folder.rounds_done(its_cell)
    assert owners(configs) == {sleeper.pid: its_cell}
    sleeper.resume()
    assert process.wait(60) == 0
    assert written < run_folder.rounds_done(its_cell)
  finally:
    process.kill()
    process.wait()
    raylet.resume()
    cluster.shutdown()
  said = out.read_text()
  assert metrics(configs) == undisturbed
  assert run_folder.log_path(its_cell).read_text().count(f': process {sleeper.pid} on ') == 1
  assert said.count('(127.0.0.3) does not see the results in /elsewhere/results') == 1
  assert 'Traceback' not in said


def test_ctrl_c_saves_and_leaves_nothing_behind(grid, rays, tmp_path):
  configs = configs_of(grid, tmp_path / 'results', rounds=5000)
  flags = [f'--results_dir={tmp_path / "results"}', '--rounds=5000', '--ray_address=local', '--jobs=1']
  process = start(grid, tmp_path / 'out', *flags)
  try:
    wait_for(lambda: total_rounds(configs) > 5, process)
    assert of(rays)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(60) == 130
  finally:
    process.kill()
    process.wait()
  assert not of(rays)
  said = (tmp_path / 'out').read_text()
  assert 'stopping: the rounds at work are finished and saved' in said
  assert 'Traceback' not in said
  (begun,) = [config for config in configs if run_folder.rounds_done(config)]
  assert checkpoint_file.saved_rounds(run_folder.folder(begun))[0] == run_folder.rounds_done(begun)
  assert [record.state for record in Claims(tmp_path / 'results' / '.claims', since=0.0).records().values()] == [
    'released'
  ]
  assert not (tmp_path / 'results' / '.sweeps').exists()


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--engine=dask'], '--engine=dask: one of processes, ray is needed'),
    (['--engine=ray', '--ray_address=here'], '--ray_address=here: auto, local or HOST:PORT is needed'),
    (['--engine=ray', '--ray_address=127.0.0.1:9'], '--ray_address=127.0.0.1:9: no cluster answers there'),
    (['--engine=ray', '--runtime=ray'], 'has --runtime=ray. A run spreads over a cluster, or the sweep does.'),
    (['--engine=ray', '--gpus_per_job=0.5'], '--gpus_per_job=0.5: only cells with --device=gpu use GPUs'),
    (['--gpus_per_job=0.5'], '--gpus_per_job=0.5: only --engine=ray shares GPUs'),
    (['--engine=ray', '--gpus_per_job=0', '--device=gpu'], '--gpus_per_job=0: '),
    (['--ray_address=local'], '--ray_address=local: only --runtime=ray has workers'),
  ],
)
def test_bad_flags_are_one_line_before_anything_is_written(grid, tmp_path, capsys, flags, message):
  assert sweep.main(['sweep', str(grid), f'--results_dir={tmp_path}', *flags]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert list(tmp_path.iterdir()) == []


class Node(dict):
  """What Ray says of a node that is alive."""

  def __init__(self, name, **resources):
    super().__init__(NodeID=name, NodeName=name, NodeManagerHostname=f'host-{name}', Alive=True, Resources=resources)


class FakeRay:
  """A cluster that never has room."""

  def __init__(self, *nodes):
    self.nodes, self.asked = lambda: nodes, {}
    self.about = self

  def remote(self, *_):
    return self

  def options(self, **asked):
    self.asked = asked
    return self

  def wait(self, promises, timeout):
    return [], promises


@pytest.mark.parametrize(
  ('nodes', 'gpus', 'room'),
  [
    ([{'CPU': 4, 'memory': 100}, {'CPU': 2, 'memory': 100}], 0.0, 6),
    ([{'CPU': 4, 'memory': 4}, {'CPU': 2, 'memory': 100}], 0.0, 4),
    ([{'CPU': 4, 'memory': 100, 'GPU': 1}, {'CPU': 8, 'memory': 100}], 0.25, 4),
    ([{'CPU': 4, 'memory': 100, 'GPU': 2}, {'CPU': 1, 'memory': 100, 'GPU': 2}], 1.0, 3),
    ([{'CPU': 2, 'memory': 1}], 0.0, 1),
    ([{'memory': 100}], 0.0, 1),
  ],
)
def test_as_many_actors_as_cpus_gpus_and_memory_of_each_node_allow(nodes, gpus, room):
  nodes = [Node(str(i), **{**has, 'memory': has['memory'] * GIB}) for i, has in enumerate(nodes)]
  assert actors.Actors(FakeRay(*nodes), gpus=gpus, say=lambda _: None).room([]) == room


def test_without_room_the_cluster_is_named_once_with_what_is_needed(tmp_path, monkeypatch):
  monkeypatch.setattr(actors, '_PATIENCE_SECONDS', 0.0)
  monkeypatch.setattr(connection, 'has_head', lambda ray: True)
  said = []
  ray = FakeRay(Node('a', CPU=1, GPU=1, memory=9 * GIB))
  engine = actors.Actors(ray, gpus=0.25, say=said.append)
  session = SessionFolder([Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path)})], since=0.0)
  waiting = [engine.hire(session, number) for number in (1, 2)]
  for _ in range(3):
    assert not any(actor.has_ended() for actor in waiting)
  assert said == [
    'the cluster has no room for another actor; it joins when there is some: each takes 1 CPU, 0.25 GPU and 1.5 GiB of '
    'memory'
  ]
  session.close()


def test_refused_nodes_get_no_actor_and_without_another_one_the_sweep_fails(tmp_path):
  said = []
  ray = FakeRay(Node('a', CPU=1, memory=9 * GIB), Node('b', CPU=1, memory=9 * GIB), Node('head', memory=9 * GIB))
  engine = actors.Actors(ray, gpus=0.0, say=said.append)
  session = SessionFolder([Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path)})], since=0.0)
  for _ in range(2):
    engine.refuse('a', 'has numpy 1, and 2 is needed')
  assert said == ['warning: node host-a (a) has numpy 1, and 2 is needed; it is left out']
  engine.hire(session, 1)
  assert ray.asked['label_selector'] == {'ray.io/node-id': '!in(a)'}
  engine.refuse('b', 'does not see it')
  with pytest.raises(RunFailedError, match=r'^no node is left to work on: node host-b \(b\) does not see it\.$'):
    engine.hire(session, 2)
  session.close()


@pytest.mark.parametrize(
  ('change', 'refusal'),
  [
    ({}, ''),
    ({'token': 'another'}, 'has another folder {} than the sweep'),
    ({'session': 'results/.sweeps/s/session.json'}, 'does not see the results in results that the sweep writes'),
    ({'versions': {'tensorflow': '1.0'}}, 'has tensorflow 2.'),
    ({'versions': {'jax_of_another_day': '1.0'}}, 'has jax_of_another_day missing, and 1.0 is needed'),
  ],
)
def test_a_node_that_sees_other_results_or_has_other_versions_is_refused(tmp_path, monkeypatch, change, refusal):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(worker_actor, '_VISIBLE_SECONDS', 0.0)
  session = SessionFolder([Config.from_flags({'dataset': 'digits', 'results_dir': str(tmp_path)})], since=0.0)
  job = Job(session.as_flags_say, session.token, Place(str(tmp_path), {}), '1', versions())._replace(**change)
  assert WorkerActor(job)._refusal().startswith(refusal.format(tmp_path))
  assert bool(WorkerActor(job)._refusal()) == bool(refusal)
  session.close()
