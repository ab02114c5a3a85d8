# SPDX-License-Identifier: Apache-2.0
"""The doctor's judgement of Ray and of clusters, from made-up answers."""

import json
import pathlib

import pytest

from fedprox_tff.cluster import diagnosis
from fedprox_tff.machine.probes import Answer

PINS = {'ray': '2.52.1', 'msgpack': '1.2.4'}
VERSIONS = {'python': '3.11.7', 'tensorflow': '2.14.1'}
TRACE = diagnosis.Trace('/shared/results', '/shared/results/.doctor-1', 'a word')
NODE = {'address': '10.0.0.2', 'host': 'two', 'cpus': 8.0, 'gpus': 0, 'versions': VERSIONS, 'word': 'a word'}


def check(said, address='auto', traced=TRACE):
  return list(diagnosis.check_cluster(address, Answer(json.dumps(said), '', 1.0), traced))


def check_nodes(*nodes, traced=TRACE):
  """Returns the findings on a cluster of some nodes, but the first, which is on the cluster itself."""
  first, *others = check({'address': '10.0.0.1:6379', 'versions': VERSIONS, 'nodes': nodes}, traced=traced)
  assert first.status == 'ok'
  return others


@pytest.mark.parametrize(
  ('installed', 'status', 'found'),
  [
    ({'ray': None, 'msgpack': None}, 'ok', 'not installed'),
    ({'ray': '2.52.1', 'msgpack': '1.2.4'}, 'ok', '2.52.1'),
    ({'ray': '2.40.0', 'msgpack': '1.2.4'}, 'warn', 'not as in requirements-ray.txt: ray 2.40.0, not 2.52.1'),
    ({'ray': '2.52.1', 'msgpack': None}, 'warn', 'not as in requirements-ray.txt: msgpack missing, not 1.2.4'),
  ],
)
def test_ray_is_compared_with_its_lock(installed, status, found):
  finding = diagnosis.check_ray(PINS, installed)
  assert (finding.status, finding.found.startswith(found)) == (status, True)
  assert ('make ray' in finding.cure) == (installed != PINS)


def test_without_a_lock_any_ray_will_do():
  assert diagnosis.check_ray({}, {'ray': '2.40.0'}) == ('ok', 'Ray', '2.40.0', '')


def test_without_a_cluster_it_says_how_to_start_one():
  (finding,) = check({'address': None})
  assert (finding.status, finding.what) == ('ok', 'cluster')
  assert 'ray start --head' in finding.cure


@pytest.mark.parametrize(('address', 'status'), [('auto', 'warn'), ('10.0.0.1:6379', 'FAIL')])
def test_a_refusal_is_a_failure_if_somebody_asked_for_that_cluster(address, status):
  (finding,) = check({'refusal': 'no cluster answers'}, address)
  assert (finding.status, finding.found) == (status, 'no cluster answers')
  assert finding.cure


def test_a_cluster_that_does_not_answer_in_time_is_a_warning():
  (finding,) = diagnosis.check_cluster('auto', Answer('', 'no answer within 60 s', 60.0), TRACE)
  assert (finding.status, finding.found) == ('warn', 'no answer within 60 s')
  assert 'ray status' in finding.cure


def test_the_cluster_and_each_node_have_a_line():
  findings = check(
    {
      'address': '10.0.0.1:6379',
      'versions': VERSIONS,
      'nodes': [NODE, NODE | {'address': '10.0.0.1', 'host': 'one', 'cpus': 1.0, 'gpus': 2.0}],
    }
  )
  assert [str(finding) for finding in findings] == [
    'ok    cluster: 10.0.0.1:6379, 2 nodes, 9 CPUs, 2 GPUs',
    'ok    node 10.0.0.1: one, 1 CPU, 2 GPUs; same versions; sees /shared/results',
    'ok    node 10.0.0.2: two, 8 CPUs; same versions; sees /shared/results',
  ]


def test_a_node_with_other_versions_is_a_warning():
  (finding,) = check_nodes(NODE | {'versions': {'python': '3.11.7', 'tensorflow': 'missing'}})
  assert finding.status == 'warn'
  assert finding.found == 'two, 8 CPUs; tensorflow missing, not 2.14.1; sees /shared/results'
  assert 'make setup' in finding.cure
  assert '--results_dir' not in finding.cure


def test_a_node_that_does_not_see_the_folder_is_a_warning():
  (finding,) = check_nodes(NODE | {'word': None, 'blind': 'No such file or directory'})
  assert finding.status == 'warn'
  assert finding.found == 'two, 8 CPUs; same versions; does not see /shared/results (No such file or directory)'
  assert '--results_dir' in finding.cure
  assert 'make setup' not in finding.cure


def test_a_node_that_sees_another_file_there_is_a_warning():
  (finding,) = check_nodes(NODE | {'word': 'another'})
  assert (finding.status, 'other contents' in finding.found) == ('warn', True)


def test_a_node_without_an_answer_is_a_warning():
  node = {key: NODE[key] for key in ('address', 'host', 'cpus', 'gpus')} | {'problem': 'it did not answer in time'}
  (finding,) = check_nodes(node)
  assert (finding.status, finding.found) == ('warn', 'two, 8 CPUs; it did not answer in time')
  assert 'make ray' in finding.cure


def test_no_node_is_blamed_for_a_folder_that_cannot_be_written():
  folder, node = check_nodes(NODE | {'word': None}, traced=TRACE._replace(problem='/shared: Read-only file system'))
  assert (folder.status, '/shared: Read-only file system' in folder.found) == ('warn', True)
  assert (node.status, node.found) == ('ok', 'two, 8 CPUs; same versions')


def test_a_trace_is_there_for_a_moment(tmp_path):
  with diagnosis.trace(str(tmp_path)) as traced:
    assert pathlib.Path(traced.file).parent == tmp_path
    assert pathlib.Path(traced.file).read_text() == traced.word
    with diagnosis.trace(str(tmp_path)) as other:
      assert (other.file, other.word) != (traced.file, traced.word)
  assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with diagnosis.trace('new/results') as traced:
    assert traced.folder == str(tmp_path / 'new/results')
    assert [str(path) for path in tmp_path.iterdir()] == [traced.file]
  assert list(tmp_path.iterdir()) == []


def test_a_trace_that_cannot_be_written_says_why(tmp_path):
  (tmp_path / 'file').touch()
  with diagnosis.trace(str(tmp_path / 'file')) as traced:
    assert traced.problem == f'{tmp_path}/file: Not a directory'
