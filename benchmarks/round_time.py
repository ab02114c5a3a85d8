# SPDX-License-Identifier: Apache-2.0
"""Time of a round and of a local step, against TFF's stock FedAvg client work on the same cohorts.

    python -m benchmarks.round_time [--rounds=30]

The paper's MNIST setting (K = 10, E = 20, batch 10, logistic regression), on real MNIST where it can be found and on a
made federation of the same shape otherwise. Every contender trains the same rounds, all in turn, after a warm-up on
the same rounds, so that nothing is compiled while the clock runs. Prints a Markdown table.
"""

import argparse
import collections
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedavg
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import DataError
from fedprox_tff.core.task import Task
from fedprox_tff.datasets import mnist_files
from fedprox_tff.datasets.base import ClientSplit, Examples
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.suite_model import functional_model
from fedprox_tff.models import logistic
from fedprox_tff.training import data
from fedprox_tff.training.cohort import Participant, sample_cohort

EPOCHS, BATCH, LEARNING_RATE = 20, 10, 0.03


class Contender(NamedTuple):
  """A way to train a cohort."""

  name: str
  runtime: str
  process: tff.learning.templates.LearningProcess
  payloads: Callable[[int, list[Participant]], list[Any]]


def load_split() -> tuple[ClientSplit, str]:
  """Returns MNIST's power-law federation, or noise in the same shape, and what it is."""
  try:
    if mnist_files.locate(None):
      return data.load(Config.from_flags({'dataset': 'mnist'})).train, 'MNIST'
  except DataError:
    pass
  rng = np.random.default_rng(0)
  sizes = np.minimum(10 + rng.lognormal(3, 1.5, 1000).astype(int), 2500)
  offsets = np.concatenate([[0], np.cumsum(sizes)])
  x = rng.normal(size=(offsets[-1], 28, 28, 1)).astype(np.float32)
  return ClientSplit(Examples(x, rng.integers(0, 10, offsets[-1]).astype(np.int32)), offsets), 'noise shaped as MNIST'


def contenders(split: ClientSplit) -> Iterator[Contender]:
  """Yields ours in both runtimes, and TFF's stock client work in both."""
  model = logistic().build(Task(split.examples.x.shape[1:], 10), seed=0)

  examples = Examples(*map(tf.constant, split.examples))

  def shared_payloads(round_num, cohort):
    """As the suite does in process: clients name their rows of one tensor."""
    return [
      client_payload(
        examples,
        rows=range(*split.offsets[p.client : p.client + 2].tolist()),
        num_epochs=EPOCHS,
        batch_size=BATCH,
        key=(0, round_num, p.client),
      )
      for p in cohort
    ]

  def own_payloads(round_num, cohort):
    return [
      client_payload(
        split.client(p.client)._asdict(), num_epochs=EPOCHS, batch_size=BATCH, key=(0, round_num, p.client)
      )
      for p in cohort
    ]

  def stock_datasets(round_num, cohort):
    return [
      tf.data.Dataset.from_tensor_slices(collections.OrderedDict(split.client(p.client)._asdict()))
      .shuffle(len(split.client(p.client).y), seed=round_num)
      .batch(BATCH)
      .repeat(EPOCHS)
      for p in cohort
    ]

  ours = build_process(fedavg(), model, client_optimizer=tff.learning.optimizers.build_sgdm(LEARNING_RATE))
  stock = tff.learning.algorithms.build_weighted_fed_avg(
    functional_model(model),
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(LEARNING_RATE),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  yield Contender('ours, in process', 'in_process', ours, shared_payloads)
  yield Contender("ours, in TFF's worker", 'worker', ours, own_payloads)
  yield Contender("TFF's stock client work, in process", 'in_process', stock, stock_datasets)
  yield Contender("TFF's stock client work, in TFF's worker", 'worker', stock, stock_datasets)


def seconds(contender: Contender, cohorts: list[list[Participant]]) -> float:
  """Returns how long a contender takes for all rounds, payloads included, the second time."""
  with runtimes.use(contender.runtime):
    for _ in range(2):
      state = contender.process.initialize()
      start = time.perf_counter()
      for round_num, cohort in enumerate(cohorts):
        state, _ = contender.process.next(state, contender.payloads(round_num, cohort))
      elapsed = time.perf_counter() - start
  return elapsed


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--rounds', type=int, default=30)
  rounds = parser.parse_args().rounds
  split, what = load_split()
  cohorts = [
    sample_cohort(
      split.sizes,
      seed=0,
      round_num=round_num,
      clients_per_round=10,
      epochs=EPOCHS,
      batch_size=BATCH,
      stragglers=0.0,
      straggler_policy='drop',
    )
    for round_num in range(1, rounds + 1)
  ]
  steps = sum(p.num_steps for cohort in cohorts for p in cohort)
  print(f'{what}, {rounds} rounds, {steps} local steps, {len(os.sched_getaffinity(0))} cores\n')
  print('| | ms a round | µs a local step | times ours |\n| --- | --- | --- | --- |')
  first = None
  for contender in contenders(split):
    elapsed = seconds(contender, cohorts)
    first = first or elapsed
    print(
      f'| {contender.name} | {elapsed / rounds * 1e3:.1f} | {elapsed / steps * 1e6:.1f} | {elapsed / first:.1f} |',
      flush=True,
    )


if __name__ == '__main__':
  main()
