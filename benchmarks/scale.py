# SPDX-License-Identifier: Apache-2.0
"""What many clients cost: a round against the size of its cohort, and the start of a large federation.

    python -m benchmarks.scale [--cohorts=10,30,100,300,1000] [--federations=1000,10000,100000]

Two tables, each of whose rows is a process of its own, so that its memory is its own. A round: cohorts of K out of
2,000 clients with ten examples of 60 features, one epoch, which is one local step each, so that nearly all of the time
is what surrounds the local work; the median round of `loop.train`, rows written, not evaluated. And a start: Synthetic
(1, 1) with so many clients, from the start of the process to the end of the first round, and the most memory that it
ever had against the size of its arrays. A federation is left out if it would not fit into the memory that is free,
going by the one before it.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import psutil

from benchmarks._timing import print_table
from benchmarks._training import train
from fedprox_tff.config.record import Config
from fedprox_tff.datasets.base import ClientSplit, Examples, FederatedDataset, client_ids
from fedprox_tff.training import data

CLIENTS, EXAMPLES, FEATURES, CLASSES = 2000, 10, 60, 10


def tiny_clients() -> FederatedDataset:
  """Returns a federation of many clients of which each has next to nothing to do."""
  rng = np.random.default_rng(0)
  offsets = np.arange(CLIENTS + 1) * EXAMPLES
  x = rng.standard_normal((offsets[-1], FEATURES), np.float32)
  split = ClientSplit(Examples(x, rng.integers(0, CLASSES, offsets[-1], np.int32)), offsets)
  return FederatedDataset('tiny', client_ids(CLIENTS), split, split, CLASSES, 'noise')


def measure_round(cohort: int) -> dict[str, float]:
  """Measures rounds of one size of cohort in this process."""
  rounds = 10 + 1000 // cohort
  rare = {'rounds_per_evaluation': rounds, 'rounds_per_checkpoint': rounds}
  times, _ = train(tiny_clients(), rounds=rounds, clients_per_round=cohort, epochs=1, **rare)
  return {'seconds': statistics.median(np.diff(times)[1:-1]), 'peak': peak_bytes()}  # the first compiles


def measure_start(num_clients: int) -> dict[str, float]:
  """Measures the start of a large federation in this process."""
  begun = psutil.Process().create_time()
  drawing = time.time()
  dataset = data.load(Config.from_flags({'dataset': 'synthetic', 'num_clients': num_clients}))
  drawn = time.time()
  arrays = sum(array.nbytes for split in (dataset.train, dataset.test) for array in (*split.examples, split.offsets))
  times, _ = train(dataset, rounds=1)
  return {'drawing': drawn - drawing, 'seconds': times[-1] - begun, 'arrays': arrays, 'peak': peak_bytes()}


def peak_bytes() -> int:
  """Returns the most resident memory that this process has had."""
  status = pathlib.Path('/proc/self/status').read_text()
  return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmHWM'))


PARTS: Mapping[str, Callable[[int], dict[str, float]]] = {'round': measure_round, 'start': measure_start}


def in_own_process(part: str, size: int) -> dict[str, float]:
  """Runs a measurement in a fresh process; what it says is shown if it fails."""
  command = [sys.executable, '-m', 'benchmarks.scale', f'--part={part}', f'--size={size}']
  result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
  if result.returncode:
    sys.exit(f'{" ".join(command)} ended with {result.returncode}\n{result.stdout}{result.stderr}')
  return json.loads(result.stdout.splitlines()[-1])


def round_rows(cohorts: list[int]) -> Iterator[tuple[str, ...]]:
  """Yields a row for each size of cohort, against the first and the one before."""
  rows = []
  for cohort in cohorts:
    measured = in_own_process('round', cohort)
    rows.append((cohort, measured['seconds'] * 1e3, measured['peak'] / 2**20))
    (_, first_ms, first_mib), (_, ms, mib) = rows[0], rows[-1]
    further = ''
    if len(rows) > 1:
      before, ms_before, _ = rows[-2]
      further = f'{(ms - ms_before) / (cohort - before):.3f}'
    yield f'{cohort:,}', f'{ms:.1f}', f'{ms / first_ms:.1f}', further, f'{mib:,.0f}', f'{mib / first_mib:.2f}'


def start_rows(federations: list[int]) -> Iterator[tuple[str, ...]]:
  """Yields a row for each size of federation."""
  bytes_a_client = 0.0
  for num_clients in federations:
    needed, free = bytes_a_client * num_clients, psutil.virtual_memory().available
    if needed > free:
      why = f'left out: might need {needed / 2**30:.0f} GiB, and {free / 2**30:.0f} are free'
      yield f'{num_clients:,}', why, '', '', '', ''
      continue
    measured = in_own_process('start', num_clients)
    bytes_a_client = measured['peak'] / num_clients
    arrays, peak = measured['arrays'] / 2**20, measured['peak'] / 2**20
    seconds, drawing = f'{measured["seconds"]:.0f}', f'{measured["drawing"]:.0f}'
    yield f'{num_clients:,}', seconds, drawing, f'{arrays:,.0f}', f'{peak:,.0f}', f'{peak / arrays:.2f}'


def main() -> None:
  """Runs the benchmark, or one part of it."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--cohorts', default='10,30,100,300,1000', help='sizes of a cohort')
  parser.add_argument('--federations', default='1000,10000,100000', help='numbers of clients')
  parser.add_argument('--part', choices=PARTS, help=argparse.SUPPRESS)
  parser.add_argument('--size', type=int, help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.part:
    print(json.dumps(PARTS[given.part](given.size)))
    return
  cohorts, federations = ([int(n) for n in text.split(',') if n] for text in (given.cohorts, given.federations))
  print(f'A round of tiny clients, {len(os.sched_getaffinity(0))} cores\n')
  columns = ('K', 'ms a round', 'times the first', 'ms a further client', 'peak MiB', 'times the first')
  print_table(columns, round_rows(cohorts))
  print('\nThe start of a large federation\n')
  columns = (
    'clients',
    's to the end of round 1',
    'of them s to draw the data',
    'MiB of arrays',
    'peak MiB',
    'peak / arrays',
  )
  print_table(columns, start_rows(federations))


if __name__ == '__main__':
  main()
