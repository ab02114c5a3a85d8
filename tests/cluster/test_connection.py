# SPDX-License-Identifier: Apache-2.0
import os
import re
import signal
import sys

import pytest

from fedprox_tff.cluster import connection
from fedprox_tff.core.errors import UserError
from tests.ray_nodes import rays_processes


def refused(address, flag='--runtime=ray'):
  with pytest.raises(UserError) as error, connection.joined(address, flag):
    pass
  return str(error.value)


def test_without_ray_the_cure_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', None)
  assert refused('auto', '--engine=ray') == '--engine=ray: Ray is not installed here; "make ray" installs it.'


@pytest.mark.parametrize('address', ['here', '', ':80', 'host:', 'host:port', '127.0.0.1:99999'])
def test_what_is_no_address_is_refused(address):
  pytest.importorskip('ray')
  assert refused(address).startswith(f'--ray_address={address}: ')


def test_an_address_at_which_nobody_listens_is_refused():
  pytest.importorskip('ray')
  assert refused('127.0.0.1:9') == '--ray_address=127.0.0.1:9: no cluster answers there (Connection refused).'


def test_a_machine_that_is_no_node_hears_of_both_ways(monkeypatch, tmp_path):
  pytest.importorskip('ray')
  monkeypatch.setenv('RAY_TMPDIR', str(tmp_path))
  monkeypatch.setattr('ray._private.services.find_gcs_addresses', set)
  assert re.search(r'no node of a Ray cluster; "ray start" .* --ray_address=local', refused('auto'))


def test_a_cluster_of_ones_own_ends_with_the_block_and_leaves_signals_alone():
  pytest.importorskip('ray')
  others = rays_processes()
  handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
  try:
    mine = signal.signal(signal.SIGTERM, lambda *_: None)
    handler = signal.getsignal(signal.SIGTERM)
    with connection.joined('local', '--runtime=ray') as ray:
      assert signal.getsignal(signal.SIGTERM) is handler
      assert ray.cluster_resources()['CPU'] == len(os.sched_getaffinity(0))
      assert rays_processes() - others
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not rays_processes() - others
  finally:
    signal.signal(signal.SIGTERM, mine)
  assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
