# SPDX-License-Identifier: Apache-2.0
"""This suite's part of `benchmarks.others`: python -m benchmarks._ours GIVEN.npz RESULT.json."""

import json
import pathlib
import statistics
import sys
import time

import numpy as np
import tensorflow_federated  # noqa: F401 (the clock starts after imports)

from benchmarks._training import train
from fedprox_tff.datasets.base import ClientSplit, Examples, FederatedDataset, client_ids


def main() -> None:
  """Trains on what was given."""
  given, result = sys.argv[1:]
  arrays = dict(np.load(given))
  train_split, test_split = (
    ClientSplit(Examples(arrays[f'{name}_x'], arrays[f'{name}_y']), arrays[f'{name}_offsets'])
    for name in ('train', 'test')
  )
  names = client_ids(len(train_split.sizes))
  dataset = FederatedDataset('given', names, train_split, test_split, 10, 'benchmarks.others')
  rounds, clients_per_round = arrays['cohorts'].shape
  setting = {key: arrays[key].item() for key in ('epochs', 'batch_size', 'learning_rate', 'rounds_per_evaluation')}
  start = time.time()
  times, rows = train(dataset, algorithm='fedavg', rounds=rounds, clients_per_round=clients_per_round, **setting)
  report = {
    'seconds': times[-1] - start,
    'round': statistics.median(row['seconds/train'] for row in rows[1:]),  # rows are written several at a time
    'steps': int(sum(row['cohort/steps'] for row in rows)),
    'train_loss': rows[-1]['train/loss'],
    'test_accuracy': rows[-1]['test/accuracy'],
  }
  pathlib.Path(result).write_text(json.dumps(report))


if __name__ == '__main__':
  main()
