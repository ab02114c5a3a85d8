# SPDX-License-Identifier: Apache-2.0
"""A whole run against other federated learning frameworks, where they are installed.

    python -m benchmarks.others [--rounds=100] [--fedjax_python=PATH] [--flower_python=PATH]

FedAvg with the paper's MNIST setting (power-law client sizes, K = 10, E = 20, batch 10, logistic regression), evaluated
on all training and test examples before training and after every ten rounds. Every contender is a process of its own
that gets the same data, initial weights and cohorts, and starts its clock after imports and reading; its time has
compiling and its own workers' start in it.

FedJAX and Flower need other versions of what this suite needs, hence environments of their own, named by their
interpreters; without them their rows are left out, and the commands that make them are printed. FedJAX runs its own
`fed_avg` on its default backend. Its batches run across the ends of epochs, so that it takes fewer steps. Flower has no
local training of its own; its client is the numpy loop of benchmarks.local_step, which has nothing to compile and is
faster for this model than PyTorch, with the batches in our order, on a node for each place in the cohort.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from benchmarks._timing import print_table
from benchmarks.local_step import as_rows
from benchmarks.round_time import load_split
from fedprox_tff.config.record import Config
from fedprox_tff.core import streams
from fedprox_tff.core.errors import DataError
from fedprox_tff.core.task import Task
from fedprox_tff.datasets import mnist_files
from fedprox_tff.datasets.base import ClientSplit
from fedprox_tff.models import logistic
from fedprox_tff.training import data
from fedprox_tff.training.cohort import sample_cohort

HERE = pathlib.Path(__file__).parent
SETTING = {'epochs': 20, 'batch_size': 10, 'learning_rate': 0.03, 'rounds_per_evaluation': 10}
CLIENTS_PER_ROUND = 10
PACKAGES = {'fedjax': "'fedjax==0.0.17' 'jax[cpu]<0.5'", 'flower': "'flwr[simulation]'"}


def load() -> tuple[ClientSplit, ClientSplit, str]:
  """Returns training and test examples, and what they are."""
  try:
    if mnist_files.locate(None):
      dataset = data.load(Config.from_flags({'dataset': 'mnist'}))
      return dataset.train, dataset.test, 'MNIST'
  except DataError:
    pass
  split, what = load_split()
  return split, split, what


def export(path: pathlib.Path, rounds: int) -> str:
  """Writes what all contenders start with, and returns what the data are."""
  train, test, what = load()
  cohorts = [
    sample_cohort(
      train.sizes,
      seed=0,
      round_num=round_num,
      clients_per_round=CLIENTS_PER_ROUND,
      epochs=SETTING['epochs'],
      batch_size=SETTING['batch_size'],
      stragglers=0.0,
      straggler_policy='drop',
    )
    for round_num in range(1, rounds + 1)
  ]
  kernel, bias = as_rows(logistic().build(Task(train.examples.x.shape[1:], 10), seed=0).initial_weights)
  arrays = {
    f'{name}_{key}': array for name, split in (('train', train), ('test', test)) for key, array in _arrays(split)
  }
  np.savez(
    path,
    **arrays,
    **SETTING,
    cohorts=[[participant.client for participant in cohort] for cohort in cohorts],
    shuffle_key=[streams.STREAMS.index('shuffle'), 0],  # before (round, client), of numpy's default_rng
    kernel=kernel,
    bias=bias,
  )
  return what


def _arrays(split: ClientSplit) -> Iterator[tuple[str, np.ndarray]]:
  yield from (('x', split.examples.x), ('y', split.examples.y), ('offsets', split.offsets))


def run(command: list[str], given: pathlib.Path) -> dict[str, float]:
  """Runs a contender; what it says is shown if it fails."""
  with tempfile.TemporaryDirectory() as folder:
    result, log = pathlib.Path(folder) / 'result.json', pathlib.Path(folder) / 'log.txt'
    start = time.perf_counter()
    with log.open('w') as output:
      arguments = [*command, str(given), str(result)]
      code = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
      ).returncode
    if code:
      sys.exit(f'{" ".join(arguments)} ended with {code}\n{log.read_text()}')
    return {**json.loads(result.read_text()), 'process': time.perf_counter() - start}


def rows(contenders: dict[str, list[str] | None], given: pathlib.Path) -> Iterator[tuple[str, ...]]:
  """Yields a row for each contender, against the first."""
  first = None
  for name, command in contenders.items():
    if command is None:
      yield name, 'left out', '', '', '', '', '', ''
      continue
    measured = run(command, given)
    seconds = measured['seconds']
    first = first or seconds
    times = f'{seconds:.1f}', f'{seconds / first:.1f}', f'{measured["round"] * 1e3:.0f}', f'{measured["process"]:.1f}'
    yield (
      name,
      *times,
      f'{measured["steps"]:,}',
      f'{measured["train_loss"]:.4f}',
      f'{measured["test_accuracy"]:.4f}',
    )


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--rounds', type=int, default=100)
  for name in PACKAGES:
    parser.add_argument(f'--{name}_python', metavar='PATH', help=f'an interpreter that has {name}')
  given = parser.parse_args()
  contenders = {'ours': [sys.executable, '-m', 'benchmarks._ours']}
  for name, packages in PACKAGES.items():
    python = getattr(given, f'{name}_python')
    contenders[name] = [python, str(HERE / f'_{name}.py')] if python else None
    if not python:
      environment = f'/tmp/{name}'
      print(f'{name} is left out; with it:')
      print(f'  {sys.executable} -m venv {environment} && {environment}/bin/pip install {packages}')
      print(f'  python -m benchmarks.others --{name}_python={environment}/bin/python\n')
  with tempfile.TemporaryDirectory() as folder:
    data = pathlib.Path(folder) / 'given.npz'
    what = export(data, given.rounds)
    print(f'{what}, {given.rounds} rounds, {len(os.sched_getaffinity(0))} cores\n')
    columns = ('', 's', 'times ours', 'median ms a round', 's of the process', 'local steps')
    print_table((*columns, 'last train loss', 'last test accuracy'), rows(contenders, data))


if __name__ == '__main__':
  main()
