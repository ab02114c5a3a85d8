# SPDX-License-Identifier: Apache-2.0
"""What clients that keep something cost: memory, disk and time of a round, with states on disk and in memory.

    python -m benchmarks.client_states [--clients=1000] [--cases=none:10,memory:10,disk:10,disk:100,disk:1000]
        [--dataset=mnist]

SCAFFOLD on MNIST over 1,000 clients with the convolutional network, whose 1,663,370 parameters are the size of a
client's state, 6.3 MiB. All clients have a state before the first round that is measured, so that there are as many as
there will ever be; each client has ten examples, one local step. A case PLACE:K is a process of its own with cohorts of
K and --client_states=PLACE; with "none" it is FedAvg, whose clients keep nothing. `loop.train` runs as in
`python -m fedprox_tff.run`, evaluations, rows and checkpoints included; the median round is given without evaluations.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tree

from benchmarks._timing import print_table
from benchmarks.scale import peak_bytes
from fedprox_tff.config.record import Config
from fedprox_tff.datasets.base import Examples, FederatedDataset, split_from_clients
from fedprox_tff.training import checkpoint_file, data
from fedprox_tff.training.client_states import ClientStates

EXAMPLES = 10  # of each client
ROUNDS = {10: 12, 100: 6, 1000: 2}  # by the size of a cohort
OTHER_ROUNDS = 4
MIB = 2**20


def small_clients(dataset: str, num_clients: int) -> FederatedDataset:
  """Returns a data set of images of which each client has a batch to train on and an example to test on."""
  whole = data.load(Config.from_flags({'dataset': dataset, 'num_clients': num_clients}))
  clients = [whole.train.client(k) for k in range(num_clients)]
  train, test = (
    split_from_clients([Examples(x[rows], y[rows]) for x, y in clients])
    for rows in (slice(EXAMPLES), slice(EXAMPLES, EXAMPLES + 1))
  )
  return dataclasses.replace(whole, train=train, test=test)


class Stopwatch:
  """Adds up the seconds in some methods of `ClientStates`."""

  def __init__(self, *names: str):
    self.seconds = dict.fromkeys(names, 0.0)
    for name in names:
      setattr(ClientStates, name, self._timed(name, getattr(ClientStates, name)))

  def _timed(self, name: str, method: Any) -> Any:
    def timed(*args, **kwargs):
      start = time.perf_counter()
      try:
        return method(*args, **kwargs)
      finally:
        self.seconds[name] += time.perf_counter() - start

    return timed


def measure(name: str, place: str, cohort: int, num_clients: int) -> dict[str, float]:
  """Measures one case in this process."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  from fedprox_tff.training.progress import Progress
  from fedprox_tff.training.session import Session

  dataset, rounds = small_clients(name, num_clients), ROUNDS.get(cohort, OTHER_ROUNDS)
  keeps = place != 'none'
  stopwatch = Stopwatch('read', 'put')
  times, most_on_disk = [], 0

  def after_round():
    nonlocal most_on_disk
    times.append(time.monotonic())
    files = pathlib.Path(folder, 'run', 'client_states').glob('*.state')
    most_on_disk = max(most_on_disk, sum(file.stat().st_size for file in files))

  with (
    tempfile.TemporaryDirectory(dir=os.environ.get('TMPDIR')) as folder,
    pathlib.Path(os.devnull).open('w') as nowhere,
    Session() as session,
  ):
    flags = {
      'dataset': name,
      'model': 'cnn',
      'epochs': 1,
      'num_clients': num_clients,
      'results_dir': folder,
      'name': 'run',
    }
    flags |= {'algorithm': 'scaffold', 'client_states': place} if keeps else {'algorithm': 'fedavg'}
    flags |= {'clients_per_round': cohort, 'rounds_per_evaluation': rounds}

    def train(num_rounds: int, **more: Any) -> None:
      config = Config.from_flags({**flags, 'rounds': num_rounds})
      with session.open(config, dataset) as run, Progress(num_rounds, nowhere, **more) as progress:
        if num_rounds and keeps:
          give_everyone_a_state(run.experiment.initial_client_state, run.folder.path)
        run.train(progress)

    def give_everyone_a_state(initial: Any, run: pathlib.Path) -> None:
      """Lets the checkpoint of round 0 say that every client has taken part."""
      states, other = (
        ClientStates(initial, run / 'client_states', place='disk'),
        tree.map_structure(np.ones_like, initial),
      )
      for client in range(num_clients):
        states.put(client, other, 0)
      checkpoint = checkpoint_file.read(run, 0)
      checkpoint_file.write(run, checkpoint._replace(clients=states.save(states.snapshot())))
      stopwatch.seconds.update(read=0.0, put=0.0)

    train(0)
    train(rounds, after_round=after_round)
    with (pathlib.Path(folder) / 'run' / 'metrics.csv').open() as file:
      names, *rows = (line.rstrip('\n').split(',') for line in file)
    seconds = [float(row[names.index('seconds/train')]) for row in rows[1:]]
  return {
    'peak': peak_bytes(),
    'disk': most_on_disk,
    'seconds': statistics.median(seconds),
    **{name: total / rounds for name, total in stopwatch.seconds.items()},
  }


def in_own_process(dataset: str, case: str, num_clients: int) -> dict[str, float]:
  """Runs a measurement in a fresh process; what it says is shown if it fails."""
  command = [sys.executable, '-m', 'benchmarks.client_states', f'--case={case}', f'--clients={num_clients}']
  command.append(f'--dataset={dataset}')
  result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
  if result.returncode:
    sys.exit(f'{" ".join(command)} ended with {result.returncode}\n{result.stdout}{result.stderr}')
  return json.loads(result.stdout.splitlines()[-1])


def rows_of(dataset: str, cases: list[str], num_clients: int) -> Iterator[tuple[str, ...]]:
  """Yields a row for each case, against the first one."""
  first = None
  for case in cases:
    place, cohort = case.split(':')
    measured = in_own_process(dataset, case, num_clients)
    first = first or measured
    yield (
      *(place, f'{int(cohort):,}', f'{measured["peak"] / MIB:,.0f}', f'{measured["peak"] / first["peak"]:.2f}'),
      *(f'{measured["disk"] / MIB:,.0f}', f'{measured["seconds"]:.2f}'),
      *(f'{measured[name]:.3f}' for name in ('read', 'put')),
    )


def main() -> None:
  """Runs the benchmark, or one case of it."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--clients', type=int, default=1000, help='clients of the federation, all with a state')
  parser.add_argument('--cases', default='none:10,memory:10,disk:10,disk:100,disk:1000', help='PLACE:K,...')
  parser.add_argument('--dataset', default='mnist', choices=('mnist', 'digits'))
  parser.add_argument('--case', help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.case:
    place, cohort = given.case.split(':')
    print(json.dumps(measure(given.dataset, place, int(cohort), given.clients)))
    return
  print(
    f'{given.clients:,} clients of {given.dataset}, the convolutional network, {len(os.sched_getaffinity(0))} cores\n'
  )
  columns = ('states', 'K', 'peak MiB', 'times the first', 'MiB on disk', 's a round', 's reading', 's writing')
  print_table(columns, rows_of(given.dataset, given.cases.split(','), given.clients))


if __name__ == '__main__':
  main()
