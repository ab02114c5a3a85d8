# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from fedprox_tff.datasets import base
from fedprox_tff.datasets.statistics import PAPER, describe, statistics

DATASET = base.FederatedDataset(
  name='three',
  client_ids=base.client_ids(3),
  train=base.empty_split(np.array([9, 18, 900]), (2,)),
  test=base.empty_split(np.array([1, 2, 0]), (2,)),
  num_classes=2,
  source='here',
)


def test_training_and_test_examples_count():
  sizes = [10, 20, 900]
  assert statistics(DATASET) == (3, 930, 310.0, pytest.approx(np.sqrt(np.mean([(n - 310) ** 2 for n in sizes]))))


def test_describe_sets_the_paper_under_the_federation():
  lines = describe(dataclasses.replace(DATASET, paper=PAPER['mnist'])).splitlines()
  assert lines[0].split()[:6] == ['this', 'federation', '3', 'devices', '930', 'samples']
  assert lines[1].split()[:6] == ['the', 'paper', '1,000', 'devices', '69,035', 'samples']
  assert [line.index('samples') for line in lines] == [lines[0].index('samples')] * 2
  assert lines[1].endswith('69 a device on average, standard deviation 106')


def test_describe_is_one_line_without_the_paper():
  assert len(describe(DATASET).splitlines()) == 1
