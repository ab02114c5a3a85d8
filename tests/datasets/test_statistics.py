# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from fedprox_tff.datasets import base
from fedprox_tff.datasets.statistics import PAPER, class_counts, describe, statistics

DATASET = base.FederatedDataset(
  name='three',
  client_ids=base.client_ids(3),
  train=base.empty_split(np.array([9, 18, 900]), (2,)),
  test=base.empty_split(np.array([1, 2, 0]), (2,)),
  num_classes=2,
  source='here',
)
for split in (DATASET.train, DATASET.test):
  split.examples.y[:] = 0


def test_training_and_test_examples_count():
  sizes = [10, 20, 900]
  assert statistics(DATASET) == (3, 930, 310.0, pytest.approx(np.sqrt(np.mean([(n - 310) ** 2 for n in sizes]))))


def test_describe_sets_the_paper_under_the_federation():
  lines = describe(dataclasses.replace(DATASET, paper=PAPER['mnist'])).splitlines()
  assert lines[0].split()[:6] == ['this', 'federation', '3', 'devices', '930', 'samples']
  assert lines[1].split()[:6] == ['the', 'paper', '1,000', 'devices', '69,035', 'samples']
  assert [line.index('samples') for line in lines[:2]] == [lines[0].index('samples')] * 2
  assert lines[1].endswith('69 a device on average, standard deviation 106')


def test_describe_has_no_line_on_the_paper_without_it():
  assert [line.split()[:2] for line in describe(DATASET).splitlines()] == [['this', 'federation'], ['its', 'classes']]


def test_describe_says_how_many_classes_clients_hold():
  y = [[0, 0, 3], [1, 2, 3], [5]]
  train = base.split_from_clients([base.Examples(np.zeros((len(each), 2)), np.array(each)) for each in y])
  y = [[0], [0], []]
  test = base.split_from_clients([base.Examples(np.zeros((len(each), 2)), np.array(each, np.int32)) for each in y])
  dataset = dataclasses.replace(DATASET, train=train, test=test, num_classes=7)
  assert [class_counts(dataset, client).tolist() for client in range(3)] == [
    [3, 0, 0, 1, 0, 0, 0],
    [1, 1, 1, 1, 0, 0, 0],
    [0, 0, 0, 0, 0, 1, 0],
  ]
  # 2, 4 and 1 classes.
  assert describe(dataset).splitlines()[1] == ('its classes            7 in all, a device holds 2.3 on average, 1 to 4')


def test_describe_says_once_what_all_clients_hold():
  assert describe(DATASET).splitlines()[1] == 'its classes            2 in all, a device holds 1'


def test_describe_has_no_line_on_classes_where_examples_have_a_label_at_each_place():
  split = base.empty_split(np.array([2]), (4,), label_shape=(4,))
  dataset = dataclasses.replace(DATASET, client_ids=base.client_ids(1), train=split, test=split)
  assert len(describe(dataset).splitlines()) == 1
