# SPDX-License-Identifier: Apache-2.0
"""The doctor's questions to a cluster of two nodes on this machine."""

import pytest

from fedprox_tff import doctor
from fedprox_tff.cluster import diagnosis
from fedprox_tff.cluster.versions import versions
from fedprox_tff.machine import probes
from tests import ray_nodes

pytest.importorskip('ray')


@pytest.fixture(scope='module')
def cluster():
  """Two nodes with one CPU each: the address, and the process of the second one."""
  with ray_nodes.cluster(1, 1) as (address, (_, second)):
    yield address, second


def ask(address, file, seconds):
  return probes.ask(diagnosis.SURVEY.format(address=address, file=str(file), seconds=seconds), 60)


def test_each_node_answers_and_nothing_is_left(cluster, tmp_path):
  address, _ = cluster
  before = set(ray_nodes.workers())
  ray, head, *nodes = doctor.examine_cluster(address, str(tmp_path), 60)
  assert (ray.status, head.status) == ('ok', 'ok')
  assert '2 nodes, 2 CPUs' in head.found
  assert len(nodes) == 2
  for node in nodes:
    assert node.status == 'ok'
    assert node.found.endswith(f'1 CPU; same versions; sees {tmp_path}')
  assert list(tmp_path.iterdir()) == []
  assert ray_nodes.soon(lambda: set(ray_nodes.workers()) <= before)


def test_a_file_that_is_not_there_is_not_seen(cluster, tmp_path):
  address, _ = cluster
  answer = ask(address, tmp_path / 'none', 30)
  _, *nodes = diagnosis.check_cluster(address, answer, diagnosis.Trace('/x', '/x/y', 'a word'))
  assert [node.status for node in nodes] == ['warn', 'warn']
  assert all('does not see /x (No such file or directory)' in node.found for node in nodes)


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
