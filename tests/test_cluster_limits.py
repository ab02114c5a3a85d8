# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of a cluster computes on paper, against the same by hand."""

import pytest

from benchmarks._cluster_limits import Figures, limits

MB = 10**6
FREE = Figures(merge=0.0, put=0.0, pull=0.0)


def of(figures=FREE, *, model_bytes=10 * MB, nodes=10, workers=10, clients=100, bits_a_second=1e9):
  return limits(
    figures,
    model_bytes=model_bytes,
    nodes=nodes,
    workers=workers,
    clients=clients,
    bits_a_second=bits_a_second,
  )


@pytest.mark.parametrize(
  ('workers', 'clients', 'blocks'),
  [
    (10, 20, 20),  # fewer clients than four a worker: each is a block
    (10, 79, 79),
    (10, 80, 40),  # pairs: four blocks a worker
    (10, 100, 50),
    (10, 159, 80),  # the last one has one client: nearly eight a worker
    (10, 160, 40),
    (1000, 10_000, 5000),
  ],
)
def test_a_sum_comes_back_for_each_block(workers, clients, blocks):
  found = of(workers=workers, clients=clients)
  assert found.blocks == blocks
  assert found.returned == blocks * 10 * MB


def test_small_models_are_added_in_groups_of_eight():
  assert of(model_bytes=31_400, workers=10, clients=1000).blocks == 63  # of 125 groups, two in a block
  assert of(model_bytes=10 * MB, workers=10, clients=1000).blocks == 63  # of 1,000 groups, sixteen in a block
  assert of(model_bytes=31_400, workers=10, clients=100).blocks == 13
  assert of(model_bytes=10 * MB, workers=10, clients=100).blocks == 50


def test_a_model_goes_to_each_node_and_not_to_each_worker():
  assert of(nodes=3, workers=12).sent == 30 * MB


def test_the_network_carries_what_is_sent_and_what_comes_back():
  found = of()  # 10 models out and 50 sums in, 10 MB each: 4.8 Gbit
  assert found.network == pytest.approx(4.8)
  assert of(bits_a_second=1e10).network == pytest.approx(0.48)
  assert (found.merge, found.store) == (0.0, 0.0)
  assert found.slowest == 'the network'


def test_the_driver_merges_each_sum_but_the_first():
  found = of(FREE._replace(merge=1e-8))  # 0.1 s for 10 MB
  assert found.merge == pytest.approx(4.9)
  assert found.slowest == "the driver's merge"


def test_the_store_takes_the_message_once_and_moves_everything():
  found = of(FREE._replace(put=1e-8, pull=2e-8))
  assert found.store == pytest.approx(0.1 + 60 * 0.2)
  assert found.slowest == 'the object store'


def test_what_is_the_limit_depends_on_the_link():
  figures = Figures(merge=0.4e-9, put=1e-9, pull=4e-9)
  assert of(figures, bits_a_second=1e9).slowest == 'the network'
  assert of(figures, bits_a_second=1e10).slowest == 'the object store'
